import { type CanActivate, Controller, Get, Injectable, Post, UseGuards } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import { SubscribeMessage, WebSocketGateway } from '@nestjs/websockets';
import {
  CurrentToken,
  ExpiringTokenException,
  ExpiringTokenGuard,
  OptionalToken,
  Public,
  RequireAnyScope,
  RequireScopes,
  RequireToken,
  Token,
} from 'nestjs-expiring-token';
import { actingAs } from 'nestjs-expiring-token/testing';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { requirementsOf } from '../lib/authentication/handler-requirements.js';
import { debugLog, onEveryAdapter, onEveryDatabase, onEveryEnvironment, type TestApp } from './fixtures/app.js';

const CATALOGUE = ['notes:read', 'notes:write', 'drafts:read', 'account'];

class NotesHandlers {
  @Get('plain')
  plain(@CurrentToken() token: Token | null) {
    return { scopes: token?.scopes ?? null };
  }

  @RequireScopes('notes:read')
  @Get('read')
  read() {
    return { done: true };
  }

  @RequireScopes('notes:read', 'notes:write')
  @Post('both')
  both() {
    return { done: true };
  }

  @RequireAnyScope('notes:read', 'notes:write')
  @Get('any')
  any() {
    return { done: true };
  }

  @RequireAnyScope('notes:read', 'notes:write')
  @RequireScopes('drafts:read')
  @Get('mixed')
  mixed() {
    return { done: true };
  }
}

@Controller('notes')
@UseGuards(ExpiringTokenGuard)
class NotesController extends NotesHandlers {
  @Public()
  @RequireScopes('notes:read')
  @Get('closed')
  closed() {
    return { done: true };
  }

  @OptionalToken()
  @RequireScopes('notes:read')
  @Get('optional')
  optional() {
    return { done: true };
  }

  @UseGuards(AuthGuard('expiring-token'))
  @Get('guarded-twice')
  guardedTwice() {
    return { done: true };
  }
}

@Controller('by-passport')
class PassportController {
  // The class has another guard, so the start is possible, and the decorator does nothing.
  @UseGuards(AuthGuard('expiring-token'))
  @RequireScopes('notes:read')
  @Get()
  read() {
    return { done: true };
  }
}

@Controller('account')
@RequireScopes('account')
@UseGuards(ExpiringTokenGuard)
class AccountController extends NotesHandlers {
  @OptionalToken()
  @Get('optional')
  optional() {
    return { done: true };
  }

  @Public()
  @Get('public')
  public() {
    return { done: true };
  }
}

@Controller('sub-account')
@RequireAnyScope('notes:read', 'notes:write')
class SubAccountController extends AccountController {
  @Get('added')
  added() {
    return { done: true };
  }
}

@Public()
@Controller('public-class')
@UseGuards(ExpiringTokenGuard)
class PublicController {
  @Get('open')
  open() {
    return { done: true };
  }

  @RequireAnyScope('notes:read')
  @Get('read')
  read() {
    return { done: true };
  }
}

/** A guard that a global guard has run before. */
@Controller('twice')
class TwiceController {
  @UseGuards(ExpiringTokenGuard)
  @RequireScopes('notes:read')
  @Get('read')
  read() {
    return { done: true };
  }
}

const handlerOf = ({ prototype }: { prototype: object }, name: string) =>
  (prototype as Record<string, () => unknown>)[name]!;

const CONTROLLERS = [NotesController, AccountController, SubAccountController, PublicController, PassportController];

const insufficient = {
  statusCode: 403,
  error: 'Forbidden',
  message: 'The token lacks a required scope',
  code: 'scope_insufficient',
};

const challenge = (scopes: string) => `Bearer realm="api", error="insufficient_scope", scope="${scopes}"`;

describe('A route that asks for scopes', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { scopes: CATALOGUE, refresh: {}, isGlobal: true },
        controllers: CONTROLLERS,
      });
    });

    /** A token with these scopes, of a new user. */
    const tokenWith = async (...scopes: string[]) =>
      (await app.tokens.issue((await app.createUser()).id, { scopes })).plainText;

    const send = (path: string, token?: string) =>
      path.endsWith('both') ? app.post(path, {}, token) : app.get(path, token);

    it.each([
      ['/notes/plain', [], true, ''],
      ['/notes/read', ['notes:read'], true, ''],
      ['/notes/read', ['notes:write', 'drafts:read'], false, 'notes:read'],
      ['/notes/read', [], false, 'notes:read'],
      ['/notes/both', ['notes:read'], false, 'notes:read notes:write'],
      ['/notes/both', ['notes:write', 'notes:read', 'account'], true, ''],
      ['/notes/any', ['notes:read'], true, ''],
      ['/notes/any', ['notes:write'], true, ''],
      ['/notes/any', ['drafts:read'], false, 'notes:read notes:write'],
      ['/notes/mixed', ['drafts:read', 'notes:write'], true, ''],
      ['/notes/mixed', ['drafts:read'], false, 'notes:read notes:write drafts:read'],
      ['/notes/mixed', ['notes:read'], false, 'notes:read notes:write drafts:read'],
      // Those of class and method add up.
      ['/account/plain', ['account'], true, ''],
      ['/account/plain', ['notes:read'], false, 'account'],
      ['/account/read', ['account'], false, 'notes:read account'],
      ['/account/read', ['notes:read'], false, 'notes:read account'],
      ['/account/read', ['notes:read', 'account'], true, ''],
      // And those of the parent class.
      ['/sub-account/added', ['account'], false, 'notes:read notes:write account'],
      ['/sub-account/added', ['notes:write'], false, 'notes:read notes:write account'],
      ['/sub-account/added', ['notes:write', 'account'], true, ''],
      ['/sub-account/read', ['notes:read', 'account'], true, ''],
      // Beside other declarations.
      ['/account/optional', ['notes:read'], false, 'account'],
      ['/account/public', [], true, ''],
      ['/notes/closed', [], false, 'notes:read'],
      ['/notes/optional', [], false, 'notes:read'],
      ['/public-class/read', [], false, 'notes:read'],
      ['/public-class/open', [], true, ''],
      // The Passport strategy reads no decorators.
      ['/by-passport', [], true, ''],
    ] as const)('%s answers a token with %o: %s', async (path, scopes, isAccepted, asked) => {
      const answer = await send(path, await tokenWith(...scopes));
      if (isAccepted) {
        expect(answer.status).toBeLessThan(300);
        return;
      }
      expect(answer).toMatchObject({ status: 403, json: insufficient });
      expect(answer.headers['www-authenticate']).toBe(challenge(asked));
    });

    it('accepts a token that may do everything: of a login, of an obtain, of issue', async () => {
      const { id, username } = await app.createUser();
      const tokens = [(await app.login(username)).json.token, (await app.tokens.issue(id)).plainText];
      for (const token of tokens) {
        for (const path of ['/notes/both', '/notes/mixed', '/account/read', '/sub-account/read']) {
          expect((await send(path, token)).status, path).toBeLessThan(300);
        }
      }
    });

    it('needs a token: without one it is 401, and a bad one is what it is elsewhere', async () => {
      for (const path of [
        '/notes/read',
        '/notes/closed',
        '/notes/optional',
        '/account/optional',
        '/public-class/read',
      ]) {
        const { status, json, headers } = await app.get(path);
        expect({ status, code: json.code }, path).toEqual({ status: 401, code: 'token_missing' });
        expect(headers['www-authenticate'], path).toBe('Bearer realm="api"');
      }
      expect((await app.get('/account/public')).status).toBe(200);
      expect((await app.get('/notes/read', 'nonsense')).json.code).toBe('token_invalid');
      const expiring = await app.tokens.issue((await app.createUser()).id, { scopes: [], lifespan: 1 });
      app.clock.advance(1);
      expect((await app.get('/notes/read', expiring.plainText)).json.code).toBe('token_expired');
    });

    it('is not opened by a refresh, by another way to get a token, or by an earlier answer', async () => {
      const { id, username } = await app.createUser();
      const login = (await app.login(username)).json;
      await app.dataSource.getRepository(Token).update({ userId: id }, { scopes: ['drafts:read'] });
      const refreshed = (
        await app.post('/auth/refresh', { refreshToken: login.refreshToken, scopes: null, scope: 'notes:read' })
      ).json;
      // The same refresh token again, within its grace.
      const again = (await app.post('/auth/refresh', { refreshToken: login.refreshToken })).json;
      expect(again.token).toBe(refreshed.token);
      for (const token of [login.token, refreshed.token]) {
        expect((await app.get('/notes/read', token)).json.code).toBe('scope_insufficient');
        expect((await app.get('/notes/plain', token)).json).toEqual({ scopes: ['drafts:read'] });
        // A scope in the request is nothing that the package reads.
        const asking = await app.send('/notes/read?scope=notes:read', {
          headers: [
            ['Authorization', `Bearer ${token}`],
            ['Scope', 'notes:read'],
          ],
        });
        expect(asking.status).toBe(403);
      }
    });

    it('is logged with the user and the code, and without the token', async () => {
      const { id } = await app.createUser();
      const { plainText, token } = await app.tokens.issue(id, { scopes: [] });
      const before = debugLog.length;
      await app.get('/notes/read', plainText);
      const lines = debugLog.slice(before).filter((line) => line.includes('scope_insufficient'));
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain(id);
      expect(lines[0]).toContain(token.deviceId);
      expect(lines[0]).not.toContain(plainText);
    });

    it('is tested with actingAs', async () => {
      const headersOf = async (scopes: string[]) =>
        Object.entries(await actingAs(app.nest, await app.createUser(), { scopes }));
      expect((await app.send('/notes/read', { headers: await headersOf(['notes:read']) })).status).toBe(200);
      expect((await app.send('/notes/read', { headers: await headersOf(['account']) })).status).toBe(403);
    });
  });

  onEveryDatabase((environment) => {
    it('is checked on a cache hit too, and costs no look-up', async () => {
      const app = await environment.boot({
        options: { scopes: CATALOGUE, cache: true, isGlobal: true },
        controllers: CONTROLLERS,
      });
      const { plainText } = await app.tokens.issue((await app.createUser()).id, { scopes: ['notes:read'] });
      await vi.waitUntil(
        async () => (await app.get('/notes/read', plainText)).status === 200 && app.tokens.cacheStatus().hits > 0,
        { timeout: 10_000, interval: 20 },
      );
      const { lookUps } = app.tokens.cacheStatus();
      for (let round = 0; round < 3; round++) {
        expect((await app.get('/notes/read', plainText)).status).toBe(200);
        expect((await app.get('/account/plain', plainText)).status).toBe(403);
      }
      expect(app.tokens.cacheStatus()).toMatchObject({ lookUps, size: 1 });
    });

    it('is checked by the guard of the route if the global guard accepted the request before', async () => {
      const app = await environment.boot({
        options: { scopes: CATALOGUE, globalGuard: true, isGlobal: true },
        controllers: [TwiceController],
      });
      const { id } = await app.createUser();
      const narrow = (await app.tokens.issue(id, { scopes: ['account'] })).plainText;
      expect(await app.get('/twice/read', narrow)).toMatchObject({ status: 403, json: insufficient });
      expect((await app.get('/twice/read', (await app.tokens.issue(id)).plainText)).status).toBe(200);
    });
  });
});

describe('A guard behind another guard that accepted the request', () => {
  /** Lets a request through that the guard of the package accepted for another handler, as a guard that calls it does. */
  @Injectable()
  class CallingGuard implements CanActivate {
    constructor(private readonly guard: ExpiringTokenGuard) {}

    canActivate(context: Parameters<CanActivate['canActivate']>[0]) {
      const other = Object.assign(Object.create(context) as typeof context, {
        getHandler: () => handlerOf(NotesHandlers, 'plain'),
      });
      return this.guard.canActivate(other);
    }
  }

  @Controller('behind')
  class BehindController {
    @UseGuards(CallingGuard, ExpiringTokenGuard)
    @RequireScopes('notes:read')
    @Get()
    read() {
      return { done: true };
    }
  }

  onEveryAdapter((environment) => {
    it('checks the scopes of this handler', async () => {
      const app = await environment.boot({ options: { isGlobal: true }, controllers: [BehindController] });
      const { id } = await app.createUser();
      const ask = async (scopes: string[]) =>
        (await app.get('/behind', (await app.tokens.issue(id, { scopes })).plainText)).status;
      expect(await ask([])).toBe(403);
      expect(await ask(['notes:read'])).toBe(200);
    });
  });
});

describe('The start', () => {
  onEveryAdapter((environment) => {
    @Controller('misspelt')
    @UseGuards(ExpiringTokenGuard)
    class MisspeltController {
      @RequireAnyScope('notes:read', 'notes:raed')
      @Get()
      read() {
        return { done: true };
      }
    }

    @RequireScopes('acount')
    @Controller('misspelt-class')
    @UseGuards(ExpiringTokenGuard)
    class MisspeltClassController {
      @Get()
      read() {
        return { done: true };
      }
    }

    @WebSocketGateway()
    @UseGuards(ExpiringTokenGuard)
    class MisspeltGateway {
      @RequireScopes('note:read')
      @SubscribeMessage('read')
      read() {
        return { done: true };
      }
    }

    @Controller('spaced')
    @UseGuards(ExpiringTokenGuard)
    class SpacedController {
      @RequireScopes('notes:read notes:write')
      @Get()
      read() {
        return { done: true };
      }
    }

    @Controller('undefined')
    @UseGuards(ExpiringTokenGuard)
    class UndefinedController {
      @RequireScopes(undefined as unknown as string)
      @Get()
      read() {
        return { done: true };
      }
    }

    @Controller('unguarded')
    class UnguardedController {
      @RequireScopes('notes:read')
      @Get()
      read() {
        return { done: true };
      }
    }

    @RequireAnyScope('notes:read')
    @Controller('unguarded-class')
    class UnguardedClassController {
      @Get()
      read() {
        return { done: true };
      }
    }

    const options = { scopes: CATALOGUE, isGlobal: true };

    it.each([
      [
        MisspeltController,
        'scopes: MisspeltController.read asks for "notes:raed", which is not in the list. The list has notes:read',
      ],
      [MisspeltClassController, 'scopes: MisspeltClassController asks for "acount", which is not in the list'],
      [SpacedController, 'scopes: SpacedController.read asks for "notes:read notes:write", which is no scope'],
      [UndefinedController, 'scopes: UndefinedController.read asks for undefined, which is no scope'],
      [UnguardedController, '@RequireScopes(): no guard protects UnguardedController.read'],
      [UnguardedClassController, '@RequireScopes(): no guard protects UnguardedClassController.read'],
    ])('is stopped by %o', async (controller, problem) => {
      await expect(environment.boot({ options, controllers: [controller] })).rejects.toThrow(problem);
    });

    it('is stopped by a gateway that asks for an unknown scope', async () => {
      const gateways = { module: class GatewayModule {}, providers: [MisspeltGateway] };
      await expect(environment.boot({ options, imports: [gateways] })).rejects.toThrow('MisspeltGateway.read asks for');
    });

    it('is possible with any scope if there is no catalogue, and with a global guard', async () => {
      const app = await environment.boot({
        options: { globalGuard: true },
        controllers: [MisspeltController, UnguardedController, UnguardedClassController],
      });
      const { plainText } = await app.tokens.issue((await app.createUser()).id, { scopes: ['notes:raed'] });
      expect((await app.get('/misspelt', plainText)).status).toBe(200);
      expect((await app.get('/unguarded', plainText)).status).toBe(403);
      expect((await app.get('/unguarded-class', plainText)).status).toBe(403);
    });
  });
});

describe('The requirements of a handler', () => {
  it('are read once: a request costs one look-up and a comparison', () => {
    const handler = handlerOf(NotesHandlers, 'read');
    const requirements = requirementsOf(handler, NotesController);
    expect(requirements).toMatchObject({ need: 'required', scopes: [['notes:read']] });
    Reflect.defineMetadata('expiring-token:scopes-required', [['changed']], handler);
    expect(requirementsOf(handler, NotesController)).toBe(requirements);
    Reflect.defineMetadata('expiring-token:scopes-required', [['notes:read']], handler);
  });

  it('have no scopes if the nearest declaration is public', () => {
    expect(requirementsOf(handlerOf(AccountController, 'public'), AccountController)).toMatchObject({
      need: 'public',
      scopes: [],
    });
  });

  it('are met by no token if a decorator in JavaScript names no scope', () => {
    class Careless {
      @((RequireAnyScope as (...scopes: string[]) => MethodDecorator)())
      @RequireToken()
      any() {}
    }
    expect(requirementsOf(handlerOf(Careless, 'any'), Careless).scopes).toEqual([[]]);
  });
});

describe('A challenge', () => {
  it('holds only scopes, whatever an exception of the application names', async () => {
    const { errorHeaders } = await import('../lib/authentication/response-headers.interceptor.js');
    const error = new ExpiringTokenException('scope_insufficient', { scopes: ['a', 'b", x="', 'c d', 'e'] });
    const options = { realm: 'api', resourceMetadata: null };
    expect(errorHeaders(error, options)).toEqual({ 'WWW-Authenticate': challenge('a e') });
    expect(errorHeaders(new ExpiringTokenException('scope_insufficient'), options)).toEqual({
      'WWW-Authenticate':
        'Bearer realm="api", error="insufficient_scope", error_description="The token lacks a required scope"',
    });
  });
});
