import { AsyncLocalStorage } from 'node:async_hooks';
import {
  type CanActivate,
  Controller,
  type ExecutionContext,
  Get,
  Inject,
  Injectable,
  type MiddlewareConsumer,
  Module,
  type ModuleMetadata,
  type NestModule,
  Scope,
  type Type,
  UseGuards,
} from '@nestjs/common';
import { APP_GUARD, ApplicationConfig, ModulesContainer, REQUEST } from '@nestjs/core';
import { Test } from '@nestjs/testing';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  type Credentials,
  CurrentUser,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  type ExpiringTokenOptions,
  ExpiringTokenService,
  OptionalToken,
  Public,
  Token as PackageToken,
  User as PackageUser,
  UserService,
  type UserStore,
} from 'nestjs-expiring-token';
import { Column, Entity, PrimaryGeneratedColumn, type Repository, Tree, TreeChildren, TreeParent } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { checkGateways } from '../lib/container/guard.checks.js';
import { type BootOptions, onEveryEnvironment, PASSWORD } from './fixtures/app.js';
import { bearer, request } from './fixtures/http.js';

interface TestUser {
  id: string;
}

/** A store that accepts every password. */
abstract class Users implements UserStore<TestUser> {
  async findById(id: string) {
    return { id };
  }
  async validateCredentials({ username }: Credentials) {
    return { id: username };
  }
  getId({ id }: TestUser) {
    return id;
  }
}

@Injectable({ scope: Scope.REQUEST })
class Tenant {
  constructor(@Inject(REQUEST) readonly incoming: unknown) {}
}

@Injectable()
class TenantRepository {
  constructor(readonly tenant: Tenant) {}
}

@Module({ providers: [Tenant, TenantRepository], exports: [Tenant, TenantRepository] })
class TenantModule {}

@Injectable()
class UsersOfTenant extends Users {
  constructor(readonly tenant: Tenant) {
    super();
  }
}

@Injectable()
class UsersByProperty extends Users {
  @Inject(TenantRepository)
  readonly repository: TenantRepository;
}

@Injectable({ scope: Scope.REQUEST })
class UsersOfRequest extends Users {}

@Injectable({ scope: Scope.REQUEST, durable: true })
class DurableUsers extends Users {}

@Injectable({ scope: Scope.TRANSIENT })
class TransientUsers extends Users {}

@Controller('secrets')
class SecretsController {
  @Get()
  all() {
    return 'all secrets';
  }
}

/** A guard of an application that looks up the tenant of the request. */
@Injectable()
class TenantGuard extends ExpiringTokenGuard {
  @Inject(Tenant)
  readonly tenant: Tenant;
}

describe('A provider with request scope that a global guard depends on', () => {
  const STORES: [store: string, users: ExpiringTokenModuleOptions['users'], problem: string][] = [
    ['that injects one', UsersOfTenant, 'UsersOfTenant depends on Tenant, which has request scope'],
    [
      'that injects one as a property, by another provider',
      UsersByProperty,
      'UsersByProperty depends on TenantRepository, which depends on Tenant, which has request scope',
    ],
    ['that is one', UsersOfRequest, 'UsersOfRequest has request scope'],
    ['that is durable', DurableUsers, 'DurableUsers has request scope'],
  ];

  const settings = (options: ExpiringTokenModuleOptions, extra: BootOptions = {}): BootOptions => ({
    options: { imports: [TenantModule], ...options },
    controllers: [SecretsController],
    ...extra,
  });

  onEveryEnvironment(
    (environment) => {
      it.each(STORES)('stops the start: a store %s', async (_, users, problem) => {
        for (const globalGuard of [true, false]) {
          const start = environment.boot(settings({ users, globalGuard }));
          await expect(start, `globalGuard: ${globalGuard}`).rejects.toMatchObject({
            name: 'ExpiringTokenOptionsError',
            message: expect.stringContaining(`ExpiringTokenModule: users: ${problem}. Give it the default scope`),
          });
        }
      });

      it('stops the start: a factory of options', async () => {
        const options = ExpiringTokenModule.forRootAsync({
          imports: [TenantModule],
          inject: [Tenant],
          useFactory: (): ExpiringTokenOptions => ({ lifespan: '1h' }),
          globalGuard: true,
        });
        const module = await Test.createTestingModule({ imports: [environment.typeOrm(), options] }).compile();
        await expect(module.createNestApplication().init()).rejects.toThrow(
          /forRootAsync: \w+ depends on Tenant, which has request scope/,
        );
      });

      it.each<[registration: string, providers: ModuleMetadata['providers']]>([
        ['useClass', [{ provide: APP_GUARD, useClass: TenantGuard }]],
        ['useExisting', [TenantGuard, { provide: APP_GUARD, useExisting: TenantGuard }]],
        [
          'useFactory',
          [TenantGuard, { provide: APP_GUARD, useFactory: (guard: TenantGuard) => guard, inject: [TenantGuard] }],
        ],
      ])('stops the start: a subclass of the guard as APP_GUARD with %s', async (_, providers) => {
        @Module({ imports: [TenantModule], providers })
        class GuardModule {}
        const start = environment.boot(settings({ isGlobal: true }, { imports: [GuardModule] }));
        // Newer versions of Nest refuse it before this package can.
        await expect(start).rejects.toThrow(/request.scope/);
      });

      it('is no reason to stop where Nest creates the guard for each request', async () => {
        @Injectable({ scope: Scope.REQUEST })
        class RequestGuard extends TenantGuard {}
        @Module({ imports: [TenantModule], providers: [{ provide: APP_GUARD, useClass: RequestGuard }] })
        class GuardModule {}
        const app = await environment.boot(settings({ isGlobal: true }, { imports: [GuardModule] }));
        expect((await app.get('/secrets')).status).toBe(401);
        expect((await app.get('/secrets', await app.token())).text).toBe('all secrets');
      });

      it('is no reason to stop with transient scope: the guard has a store of its own', async () => {
        const app = await environment.boot(settings({ users: TransientUsers, globalGuard: true }));
        expect((await app.get('/secrets')).status).toBe(401);
        const { json } = await app.login('ann');
        expect((await app.get('/secrets', json.token)).text).toBe('all secrets');
      });

      it('does not matter elsewhere in the application', async () => {
        @Controller('tenants')
        class TenantsController {
          constructor(readonly tenant: Tenant) {}
          @Get()
          all() {
            return 'all tenants';
          }
        }
        @Module({ imports: [TenantModule], controllers: [TenantsController] })
        class TenantsModule {}
        const app = await environment.boot({ options: { globalGuard: true }, imports: [TenantsModule] });
        expect((await app.get('/tenants')).status).toBe(401);
        expect((await app.get('/tenants', await app.token())).text).toBe('all tenants');
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A gateway beside a global guard, where Nest applies no global guard to gateways', () => {
  class Messages {
    @SubscribeMessage('secrets')
    secrets() {
      return 'all secrets';
    }
  }
  @WebSocketGateway()
  class OpenGateway extends Messages {}
  @WebSocketGateway()
  @OptionalToken()
  class OptionalGateway extends Messages {}
  @WebSocketGateway()
  @UseGuards(ExpiringTokenGuard)
  class GuardedGateway extends Messages {}
  @WebSocketGateway()
  @Public()
  class PublicGateway {
    @SubscribeMessage('news')
    news() {
      return 'all news';
    }
  }
  @WebSocketGateway()
  class SilentGateway {
    send() {}
  }
  @WebSocketGateway()
  class MethodsGateway {
    @UseGuards(ExpiringTokenGuard)
    @SubscribeMessage('secrets')
    secrets() {
      return 'all secrets';
    }
    @Public()
    @SubscribeMessage('news')
    news() {
      return 'all news';
    }
  }
  @Module({ providers: [{ provide: APP_GUARD, useExisting: ExpiringTokenGuard }] })
  class AppGuardModule {}

  onEveryEnvironment(
    (environment) => {
      /** On NestJS 11 the application checks this itself when it starts. */
      async function check(gateway: Type, boot: BootOptions): Promise<void> {
        @Module({ providers: [gateway] })
        class GatewayModule {}
        const imports = [GatewayModule, ...(boot.imports ?? [])];
        const app = await environment.boot({ ...boot, imports });
        checkGateways(app.nest.get(ModulesContainer), app.nest.get(ApplicationConfig), false);
      }
      const GLOBAL: [name: string, boot: BootOptions][] = [
        ['globalGuard', { options: { globalGuard: true, isGlobal: true } }],
        ['APP_GUARD', { options: { isGlobal: true }, imports: [AppGuardModule] }],
        [
          'useGlobalGuards',
          { options: { isGlobal: true }, configure: (nest) => nest.useGlobalGuards(nest.get(ExpiringTokenGuard)) },
        ],
      ];

      it.each(GLOBAL)('stops the start if its messages have neither a guard nor @Public(): %s', async (_, boot) => {
        for (const gateway of [OpenGateway, OptionalGateway]) {
          await expect(check(gateway, boot), gateway.name).rejects.toThrow(
            `globalGuard: ${gateway.name}.secrets would need no token, because Nest 11 applies no global guard to gateways. Add @UseGuards(ExpiringTokenGuard)`,
          );
        }
      });

      it.each(GLOBAL)('is no reason to stop if they have, or if it receives none: %s', async (_, boot) => {
        for (const gateway of [GuardedGateway, PublicGateway, MethodsGateway, SilentGateway]) {
          await expect(check(gateway, boot), gateway.name).resolves.toBeUndefined();
        }
      });

      it('is no reason to stop without a global guard of this package', async () => {
        await expect(check(OpenGateway, { options: { isGlobal: true } })).resolves.toBeUndefined();
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('An application with other global guards, and with CORS', () => {
  const calls: string[] = [];

  @Injectable()
  class EarlierGuard implements CanActivate {
    canActivate(context: ExecutionContext) {
      calls.push(`earlier, user: ${Boolean(context.switchToHttp().getRequest().user)}`);
      return true;
    }
  }

  @Injectable()
  class LaterGuard implements CanActivate {
    canActivate(context: ExecutionContext) {
      calls.push(`later, user: ${Boolean(context.switchToHttp().getRequest().user)}`);
      return true;
    }
  }

  @Module({ providers: [{ provide: APP_GUARD, useClass: LaterGuard }] })
  class RolesModule {}

  onEveryEnvironment(
    (environment) => {
      it('has the guard of this package between those of its root module and those of later imports', async () => {
        const options = { globalGuard: true, isGlobal: true, prune: false } as const;
        @Module({
          imports: [environment.typeOrm(), ExpiringTokenModule.forRoot(options), RolesModule],
          providers: [{ provide: APP_GUARD, useClass: EarlierGuard }],
          controllers: [SecretsController],
        })
        class AppModule {}
        const module = await Test.createTestingModule({ imports: [AppModule] }).compile();
        const nest = module.createNestApplication({ logger: false });
        await nest.listen(0, '127.0.0.1');
        const origin = await nest.getUrl();
        const { id } = await nest.get(UserService).create('ann', null);
        const { plainText } = await nest.get(ExpiringTokenService).issue(id);
        calls.length = 0;
        expect((await request(origin, '/secrets')).status).toBe(401);
        expect(calls).toEqual(['earlier, user: false']);
        expect((await request(origin, '/secrets', { headers: bearer(plainText) })).text).toBe('all secrets');
        expect(calls.slice(1)).toEqual(['earlier, user: false', 'later, user: true']);
        await nest.close();
      });

      it('answers preflight requests before the guard, and lets pages read its errors', async () => {
        const origin = 'https://app.example.com';
        const app = await environment.boot({
          options: { globalGuard: true },
          controllers: [SecretsController],
          configure: (nest) => nest.enableCors({ origin }),
        });
        const headers = [['Origin', origin] as const];
        const preflight = [...headers, ['Access-Control-Request-Method', 'GET'] as const];
        expect((await app.send('/secrets', { method: 'OPTIONS', headers: preflight })).status).toBe(204);
        const { status, headers: answered } = await app.send('/secrets', { headers });
        expect(status).toBe(401);
        expect(answered['access-control-allow-origin']).toBe(origin);
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A store that reads the tenant of a login from AsyncLocalStorage', () => {
  const tenants = new AsyncLocalStorage<string>();

  @Injectable()
  class TenantUsers extends Users {
    override async validateCredentials({ username }: Credentials) {
      return { id: `${tenants.getStore()}/${username}` };
    }
  }

  @Module({})
  class TenantsModule implements NestModule {
    configure(consumer: MiddlewareConsumer) {
      const run = ({ headers }: { headers: { 'x-tenant': string } }, _: unknown, next: () => void) =>
        tenants.run(headers['x-tenant'], next);
      consumer.apply(run).forRoutes('*path');
    }
  }

  @Controller('whoami')
  class WhoAmIController {
    @Get()
    get(@CurrentUser() user: TestUser) {
      return user.id;
    }
  }

  onEveryEnvironment(
    (environment) => {
      it('finds it for each of many simultaneous logins', async () => {
        const app = await environment.boot({
          options: { users: TenantUsers, globalGuard: true },
          imports: [TenantsModule],
          controllers: [WhoAmIController],
        });
        const names = await Promise.all(
          Array.from({ length: 20 }, async (_, index) => {
            const headers = [['X-Tenant', `tenant-${index}`] as const];
            const body = { username: 'ann', password: PASSWORD };
            const { json } = await app.send('/auth/login', { method: 'POST', headers, body });
            return (await app.send('/whoami', { headers: bearer(json.token) })).text;
          }),
        );
        expect(names).toEqual(Array.from({ length: 20 }, (_, index) => `tenant-${index}/ann`));
      });
    },
    { databases: ['sqlite'] },
  );
});

@Entity('invitation')
class Token {
  @PrimaryGeneratedColumn()
  id: number;

  @Column()
  code: string;
}

@Entity('person')
@Tree('materialized-path')
class User {
  @PrimaryGeneratedColumn()
  id: number;

  @TreeParent()
  boss: User | null;

  @TreeChildren()
  team: User[];
}

@Injectable()
class Invitations {
  constructor(
    @InjectRepository(Token) readonly tokens: Repository<Token>,
    @InjectRepository(User) readonly people: Repository<User>,
  ) {}
}

@Injectable()
class TokenStatistics {
  constructor(
    @InjectRepository(PackageToken) readonly tokens: Repository<PackageToken>,
    @InjectRepository(PackageUser) readonly users: Repository<PackageUser>,
  ) {}
}

describe('@InjectRepository()', () => {
  onEveryEnvironment(
    (environment) => {
      const own = () => TypeOrmModule.forFeature([Token, User]);
      const ofPackage = () => ExpiringTokenModule.forRoot({ isGlobal: true, prune: false });

      it.each([
        ['behind', () => [ofPackage(), own()]],
        ['before', () => [own(), ofPackage()]],
      ])(
        "gives the application's entities named Token and User, with forFeature() %s the package",
        async (_, imports) => {
          @Module({ imports: imports(), providers: [Invitations] })
          class InvitationModule {}
          const { nest } = await environment.boot({ module: [], imports: [InvitationModule] });
          const { tokens, people } = nest.get(Invitations);
          expect(tokens.metadata.tableName).toBe('invitation');
          expect(people.metadata.tableName).toBe('person');
          expect(await tokens.save({ code: 'x' })).toMatchObject({ code: 'x' });
          expect(await people.manager.getTreeRepository(User).findTrees()).toEqual([]);
        },
      );

      it("gives the package's entities where the application provides none of these names", async () => {
        @Module({ imports: [ofPackage()], providers: [TokenStatistics] })
        class StatisticsModule {}
        const { nest } = await environment.boot({ module: [], imports: [StatisticsModule] });
        const { tokens, users } = nest.get(TokenStatistics);
        expect(tokens.metadata.tableName).toBe('auth_token');
        expect(users.metadata.tableName).toBe('auth_user');
      });

      it.each([
        ['does not import it', []],
        ['imports it', [TypeOrmModule.forFeature([PackageToken, PackageUser])]],
      ])(
        "stops the start if a module means the package's entity of a name that is taken, and %s",
        async (_, imports) => {
          @Module({ imports: [own()], providers: [Invitations] })
          class InvitationModule {}
          @Module({ imports: [ofPackage(), ...imports], providers: [TokenStatistics] })
          class StatisticsModule {}
          await expect(environment.boot({ module: [], imports: [InvitationModule, StatisticsModule] })).rejects.toThrow(
            'TokenStatistics injects the repository of an entity Token, but there are two: one of nestjs-expiring-token, and one of ' +
              'the application with the table invitation. Inject the data source instead, and call its getRepository(Token).',
          );
        },
      );
    },
    { databases: ['sqlite'] },
  );
});
