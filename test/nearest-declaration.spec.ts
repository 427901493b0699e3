import {
  applyDecorators,
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  type INestApplication,
  Injectable,
  mixin,
  Module,
  type Provider,
  Scope,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD, Reflector } from '@nestjs/core';
import { AuthGuard, PassportStrategy } from '@nestjs/passport';
import { MessageBody, SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import { Args, Query, Resolver } from '@nestjs/graphql';
import { MessagePattern } from '@nestjs/microservices';
import {
  CurrentUser,
  ExpiringTokenGuard,
  ExpiringTokenService,
  OptionalToken,
  Public,
  RequireToken,
  User,
} from 'nestjs-expiring-token';
import { Strategy } from 'passport-http-bearer';
import { beforeAll, describe, expect, it } from 'vitest';
import { checkRequirements } from '../lib/container/guard.checks.js';
import { needOf } from '../lib/authentication/handler-requirements.js';
import { ApiDocument } from './fixtures/api-document.js';
import { type BootOptions, onEveryAdapter, onOneEnvironment, type TestApp } from './fixtures/app.js';

/** Responds with the name of the user, so that a test sees whether the token was read. */
const nameOf = (user: User | null) => ({ name: user?.username ?? null });

@Injectable()
class StricterGuard extends ExpiringTokenGuard {}

@Injectable()
class OtherGuard {
  canActivate() {
    return true;
  }
}

const guardMixin = (): Type => {
  @Injectable()
  class MixedGuard extends ExpiringTokenGuard {}
  return mixin(MixedGuard);
};

const Guarded = () => applyDecorators(UseGuards(ExpiringTokenGuard));

@Public()
@Controller('public-class')
@UseGuards(OtherGuard)
class PublicClassController {
  @Get('plain')
  plain(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @UseGuards(ExpiringTokenGuard)
  @Get('guarded')
  guarded(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @UseGuards(OtherGuard, StricterGuard)
  @Get('subclassed')
  subclassed(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @UseGuards(guardMixin())
  @Get('mixed')
  mixed(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @Guarded()
  @Get('composed')
  composed(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @UseGuards(OtherGuard)
  @Get('other')
  other(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @Public()
  @UseGuards(ExpiringTokenGuard)
  @Get('open')
  open(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @OptionalToken()
  @UseGuards(ExpiringTokenGuard)
  @Get('optional')
  optional(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @RequireToken()
  @UseGuards(ExpiringTokenGuard)
  @Get('required')
  required(@CurrentUser() user: User) {
    return nameOf(user);
  }

  @Public()
  @RequireToken()
  @UseGuards(ExpiringTokenGuard)
  @Get('contradictory')
  contradictory(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@OptionalToken()
@UseGuards(ExpiringTokenGuard)
@Controller('optional-class')
class OptionalClassController {
  @Get('plain')
  plain(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @RequireToken()
  @Get('required')
  required(@CurrentUser() user: User) {
    return nameOf(user);
  }
}

@Public()
@UseGuards(ExpiringTokenGuard)
class PublicBase {
  @Get('inherited')
  inherited(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @Get('overridden')
  overridden(@CurrentUser() user: User | null) {
    return nameOf(user);
  }
}

@Controller('subclass')
@UseGuards(OtherGuard)
class SubclassController extends PublicBase {
  @Get('overridden')
  override overridden(@CurrentUser() user: User | null) {
    return nameOf(user);
  }

  @Get('added')
  added(@CurrentUser() user: User | null) {
    return nameOf(user);
  }
}

@Controller('guarded-subclass')
@UseGuards(ExpiringTokenGuard)
class GuardedSubclassController extends PublicBase {}

@Controller('required-subclass')
@RequireToken()
class RequiredSubclassController extends PublicBase {
  @Public()
  @Get('open')
  open(@CurrentUser() user: User | null) {
    return nameOf(user);
  }
}

@Public()
@Controller('public-subclass')
class PublicSubclassController extends GuardedSubclassController {
  @Get('added')
  added(@CurrentUser() user: User | null) {
    return nameOf(user);
  }
}

const CONTROLLERS = [
  PublicClassController,
  OptionalClassController,
  SubclassController,
  GuardedSubclassController,
  RequiredSubclassController,
  PublicSubclassController,
];

const REQUIRED = [
  '/public-class/guarded',
  '/public-class/subclassed',
  '/public-class/mixed',
  '/public-class/composed',
  '/public-class/required',
  '/public-class/contradictory',
  '/optional-class/required',
  '/subclass/added',
  '/subclass/overridden',
  '/guarded-subclass/inherited',
  '/guarded-subclass/overridden',
  '/required-subclass/inherited',
];

const OPEN = [
  '/public-class/plain',
  '/public-class/other',
  '/public-class/open',
  '/subclass/inherited',
  '/required-subclass/open',
  '/public-subclass/inherited',
  '/public-subclass/added',
];

const OPTIONAL = ['/public-class/optional', '/optional-class/plain'];

describe.each([{ globalGuard: false }, { globalGuard: true }])(
  'The nearest declaration, with globalGuard: $globalGuard,',
  ({ globalGuard }) => {
    onEveryAdapter((environment) => {
      let app: TestApp;
      beforeAll(async () => {
        app = await environment.boot({ options: { globalGuard }, controllers: CONTROLLERS });
      });

      it.each(REQUIRED)('requires a token for %s', async (path) => {
        const { id, username } = await app.createUser();
        expect(await app.get(path)).toMatchObject({ status: 401, json: { code: 'token_missing' } });
        expect((await app.get(path, 'nonsense')).json.code).toBe('token_invalid');
        expect((await app.get(path, await app.token(id))).json).toEqual({ name: username });
      });

      it.each(OPEN)('opens %s to everybody, and reads no token there', async (path) => {
        expect(await app.get(path)).toMatchObject({ status: 200, json: { name: null } });
        expect(await app.get(path, await app.token())).toMatchObject({ status: 200, json: { name: null } });
      });

      it.each(OPTIONAL)('accepts a token or none for %s', async (path) => {
        const { id, username } = await app.createUser();
        expect((await app.get(path)).json).toEqual({ name: null });
        expect((await app.get(path, await app.token(id))).json).toEqual({ name: username });
        expect((await app.get(path, 'nonsense')).json.code).toBe('token_invalid');
      });
    });
  },
);

describe('What a handler requires', () => {
  const needOfMethod = (type: Type, method: string) =>
    needOf((type.prototype as Record<string, object>)[method]!, type);

  @Public()
  class Base {
    static readonly guard = Object.create(ExpiringTokenGuard.prototype) as ExpiringTokenGuard;

    written() {}
  }

  it('is required by an instance of the guard too', () => {
    @Public()
    class WithInstance {
      @UseGuards(Base.guard)
      handler() {}
    }
    expect(needOfMethod(WithInstance, 'handler')).toBe('required');
  });

  it('is not opened by a parent class for a handler that something replaced', () => {
    class Sub extends Base {}
    expect(needOfMethod(Sub, 'written')).toBe('public');
    expect(needOf(() => undefined, Sub)).toBeUndefined();
  });

  it('is the same for messages of a gateway and for resolvers', () => {
    @Public()
    @WebSocketGateway()
    class Gateway {
      @SubscribeMessage('open')
      open(@MessageBody() body: unknown) {
        return body;
      }

      @UseGuards(ExpiringTokenGuard)
      @SubscribeMessage('closed')
      closed(@MessageBody() body: unknown) {
        return body;
      }
    }
    @OptionalToken()
    @Resolver()
    class Notes {
      @Query(() => String)
      open(@Args('id') id: string) {
        return id;
      }

      @RequireToken()
      @Query(() => String)
      closed(@Args('id') id: string) {
        return id;
      }
    }
    expect(needOfMethod(Gateway, 'open')).toBe('public');
    expect(needOfMethod(Gateway, 'closed')).toBe('required');
    expect(needOfMethod(Notes, 'open')).toBe('optional');
    expect(needOfMethod(Notes, 'closed')).toBe('required');
  });
});

describe('A subclass of the guard that overrides getNeed', () => {
  @Injectable()
  class ReadOnlyGuard extends ExpiringTokenGuard {
    protected override getNeed(context: Parameters<ExpiringTokenGuard['canActivate']>[0]) {
      return context.getHandler().name === 'anybody' ? 'public' : super.getNeed(context);
    }
  }

  @Controller('own-rule')
  @UseGuards(ReadOnlyGuard)
  class OwnRuleController {
    @Get('anybody')
    anybody(@CurrentUser() user: User | null) {
      return nameOf(user);
    }

    @Get('users')
    users(@CurrentUser() user: User) {
      return nameOf(user);
    }
  }

  onOneEnvironment((environment) => {
    it('decides itself, and can ask for the declarations', async () => {
      const app = await environment.boot({ controllers: [OwnRuleController] });
      expect((await app.get('/own-rule/anybody')).json).toEqual({ name: null });
      expect((await app.get('/own-rule/users')).json.code).toBe('token_missing');
    });
  });
});

describe('The OpenAPI document', () => {
  onOneEnvironment((environment) => {
    it('shows what the guard requires', async () => {
      const app = await environment.boot({ options: { globalGuard: true }, controllers: CONTROLLERS });
      const document = await ApiDocument.of(app);
      const securityOf = (path: string) => document.operation('get', path).security;
      for (const path of REQUIRED) {
        // A handler that several controllers inherit has one description for all of them.
        if (!path.endsWith('inherited') && !path.endsWith('overridden'))
          expect(securityOf(path), path).toEqual([{ bearer: [] }]);
      }
      expect(securityOf('/public-class/plain')).toEqual([{}]);
      expect(securityOf('/optional-class/plain')).toEqual([{ bearer: [] }, {}]);
    });
  });
});

describe('@RequireToken() without a guard', () => {
  class Inherited {
    @RequireToken()
    @Get()
    secret() {
      return 'secret';
    }
  }

  @Controller('unguarded')
  class UnguardedController extends Inherited {}

  @Controller('guarded')
  @UseGuards(ExpiringTokenGuard)
  class GuardedController extends Inherited {}

  @Controller('closed')
  @RequireToken()
  class ClosedController {
    @Get()
    secret() {
      return 'secret';
    }
  }

  @Controller('mixed')
  @RequireToken()
  class MixedController {
    @UseGuards(ExpiringTokenGuard)
    @Get('secret')
    secret() {
      return 'secret';
    }
    @Public()
    @Get('news')
    news() {
      return 'news';
    }
    notAHandler() {}
  }

  @Controller('throttled')
  @UseGuards(OtherGuard)
  class ThrottledController {
    @RequireToken()
    @Get()
    secret() {
      return 'secret';
    }
  }

  @Controller('throttled-handler')
  class ThrottledHandlerController {
    @RequireToken()
    @UseGuards(new OtherGuard(), AuthGuard('accepts-everybody'))
    @Get()
    secret() {
      return 'secret';
    }
  }

  @Controller()
  class MessagesController {
    @RequireToken()
    @MessagePattern('secret')
    secret() {
      return 'secret';
    }
  }

  /** As a throttler, or a guard of roles. */
  @Injectable()
  class ReflectingGuard extends OtherGuard {
    constructor(readonly reflector: Reflector) {
      super();
    }
  }

  @Injectable({ scope: Scope.REQUEST })
  class RequestScopedGuard extends OtherGuard {}

  class AcceptingStrategy extends PassportStrategy(Strategy, 'accepts-everybody') {
    validate() {
      return { id: 'anybody' };
    }
  }

  /** A guard with an authenticator in a property. */
  @Injectable()
  class DelegatingGuard implements CanActivate {
    constructor(readonly guard: ExpiringTokenGuard) {}
    canActivate(context: ExecutionContext) {
      return this.guard.canActivate(context);
    }
  }

  @Injectable({ scope: Scope.REQUEST })
  class DelegatingRequestGuard extends DelegatingGuard {}

  /** Nothing shows what this guard has. */
  class HidingGuard implements CanActivate {
    readonly #guard: CanActivate;
    constructor(guard: CanActivate) {
      this.#guard = guard;
    }
    canActivate(context: ExecutionContext) {
      return this.#guard.canActivate(context);
    }
  }

  @Injectable()
  class Sessions {
    constructor(readonly tokens: ExpiringTokenService) {}
  }

  /** A guard with an authenticator behind another provider. */
  @Injectable()
  class SessionGuard implements CanActivate {
    constructor(readonly sessions: Sessions) {}
    async canActivate(context: ExecutionContext) {
      const { headers } = context.switchToHttp().getRequest<{ headers: { authorization?: string } }>();
      const [, token = ''] = (headers.authorization ?? '').split(' ');
      await this.sessions.tokens.authenticate(token);
      return true;
    }
  }

  const provided = (guard: Type, ...providers: Provider[]): BootOptions => {
    @Module({ providers: [...providers, { provide: APP_GUARD, useClass: guard }] })
    class GuardsModule {}
    return { imports: [GuardsModule], options: { isGlobal: true } };
  };
  /** A guard from a factory that Nest calls for each request. */
  const made = (useFactory: (...dependencies: any[]) => CanActivate, ...inject: Type[]): BootOptions => {
    @Module({ providers: [{ provide: APP_GUARD, scope: Scope.REQUEST, useFactory, inject }] })
    class GuardsModule {}
    return { imports: [GuardsModule], options: { isGlobal: true } };
  };
  const used = (guard: (nest: INestApplication) => CanActivate): BootOptions => ({
    configure: (nest) => nest.useGlobalGuards(guard(nest)),
  });

  const OTHER_GUARDS: [name: string, boot: BootOptions][] = [
    ['of the application', provided(OtherGuard)],
    ['with providers of Nest', provided(ReflectingGuard)],
    ['with request scope', provided(RequestScopedGuard)],
    ['of a factory with request scope', made(() => new OtherGuard())],
    ['of another strategy of Passport', provided(AuthGuard('accepts-everybody'), AcceptingStrategy)],
    ['that the application created', used(() => new OtherGuard())],
    ['that the application created with providers of Nest', used((nest) => new ReflectingGuard(nest.get(Reflector)))],
  ];

  const TOKEN_GUARDS: [name: string, boot: BootOptions][] = [
    ['a subclass', provided(StricterGuard)],
    ['of the strategy of this package', provided(AuthGuard('expiring-token'))],
    ['a subclass of it', provided(class extends AuthGuard('expiring-token') {})],
    ['of a list of strategies', provided(AuthGuard(['expiring-token']))],
    ['with ExpiringTokenGuard', provided(DelegatingGuard)],
    ['with ExpiringTokenGuard and request scope', provided(DelegatingRequestGuard)],
    [
      'of a factory with request scope',
      made((guard: ExpiringTokenGuard) => new HidingGuard(guard), ExpiringTokenGuard),
    ],
    ['with a provider that has the service', provided(SessionGuard, Sessions)],
    ['that the application created', used((nest) => new DelegatingGuard(nest.get(ExpiringTokenGuard)))],
    ['with private members', used((nest) => new HidingGuard(nest.get(ExpiringTokenGuard)))],
    ['an object', used((nest) => ({ canActivate: (context) => nest.get(ExpiringTokenGuard).canActivate(context) }))],
  ];

  onOneEnvironment((environment) => {
    it('stops the start', async () => {
      await expect(environment.boot({ controllers: [UnguardedController] })).rejects.toThrow(
        'ExpiringTokenModule: @RequireToken(): no guard protects UnguardedController.secret.',
      );
    });

    it('on a class stops the start', async () => {
      await expect(environment.boot({ controllers: [ClosedController] })).rejects.toThrow(
        'ExpiringTokenModule: @RequireToken(): no guard protects ClosedController.secret.',
      );
    });

    it.each([ThrottledController, ThrottledHandlerController])(
      'stops the start beside guards of its own that read no token: %o',
      async (controller) => {
        @Module({ providers: [AcceptingStrategy] })
        class StrategyModule {}
        const boot = environment.boot({ controllers: [controller], imports: [StrategyModule] });
        await expect(boot).rejects.toThrow(`@RequireToken(): no guard protects ${controller.name}.secret.`);
      },
    );

    it('is no reason to stop beside a guard of its own that may read tokens', async () => {
      @Controller('delegated')
      @UseGuards(DelegatingGuard)
      class DelegatedController extends UnguardedController {}
      const app = await environment.boot({ controllers: [DelegatedController] });
      expect((await app.get('/delegated')).status).toBe(401);
      expect((await app.get('/delegated', await app.token())).status).toBe(200);
    });

    it('on a class is no reason to stop if each of its handlers has a guard or is public', async () => {
      const app = await environment.boot({ controllers: [MixedController] });
      expect((await app.get('/mixed/news')).status).toBe(200);
    });

    it('is no reason to stop with a guard of the class or of the application', async () => {
      await environment.boot({ controllers: [GuardedController] });
      await environment.boot({ controllers: [UnguardedController], options: { globalGuard: true } });
      const app = await environment.boot({
        controllers: [UnguardedController],
        configure: (nest) => nest.useGlobalGuards(nest.get(ExpiringTokenGuard)),
      });
      expect((await app.get('/unguarded')).status).toBe(401);
    });

    it.each(OTHER_GUARDS)('stops the start beside a global guard that reads no token: %s', async (_, boot) => {
      await expect(environment.boot({ controllers: [UnguardedController], ...boot })).rejects.toThrow(
        '@RequireToken(): no guard protects UnguardedController.secret.',
      );
    });

    it.each(TOKEN_GUARDS)('is no reason to stop beside a global guard that may read tokens: %s', async (_, boot) => {
      const app = await environment.boot({ controllers: [UnguardedController], ...boot });
      expect((await app.get('/unguarded')).status).toBe(401);
      expect((await app.get('/unguarded', await app.token())).status).toBe(200);
    });

    it('is no reason to stop in a microservice, which may have global guards of its own', async () => {
      @Controller()
      @RequireToken()
      class ClosedMessagesController extends MessagesController {}
      await environment.boot({ controllers: [MessagesController, ClosedMessagesController] });
    });
  });
});

describe('A class that is registered as a global guard', () => {
  it('stops the start, because Nest 11 skips it', () => {
    const config = { getGlobalGuards: () => [StricterGuard], getGlobalRequestGuards: () => [] };
    expect(() => checkRequirements(new Map() as never, config as never)).toThrow(
      'Set globalGuard: true, or call app.useGlobalGuards(app.get(StricterGuard)).',
    );
  });
});

describe('A guard that the application creates itself', () => {
  it('throws, and says what to do', () => {
    const Guard = ExpiringTokenGuard as Type<ExpiringTokenGuard>;
    expect(() => new Guard()).toThrow('app.useGlobalGuards(app.get(ExpiringTokenGuard))');
  });
});
