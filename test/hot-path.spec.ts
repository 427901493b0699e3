import { createHook } from 'node:async_hooks';
import { inspect } from 'node:util';
import { Controller, type ExecutionContext, Get, Req, UseGuards } from '@nestjs/common';
import { CurrentToken, ExpiringTokenGuard, Token } from 'nestjs-expiring-token';
import { Column, Entity } from 'typeorm';
import { describe, expect, it } from 'vitest';
import type { HttpRequest } from '../lib/transports/http-request.js';
import { onEveryDatabase, type TestApp } from './fixtures/app.js';

/** How often a value of the column below was read from a row, that is how many tokens were made. */
let made = 0;

const counted = {
  to: (value: unknown) => value,
  from: (value: unknown) => {
    made++;
    return value;
  },
};

@Entity('labelled_token')
class LabelledToken extends Token {
  @Column('varchar', { length: 10, nullable: true, transformer: counted })
  label: string | null;
}

type AuthInfo = { token: LabelledToken };

/** What the handler below does with `request.authInfo`. */
let use: (authInfo: AuthInfo) => unknown;

@UseGuards(ExpiringTokenGuard)
@Controller('info')
class InfoController {
  @Get()
  info(@Req() { authInfo }: { authInfo: AuthInfo }) {
    return { used: use(authInfo) };
  }

  @Get('current')
  current(@Req() { authInfo }: { authInfo: AuthInfo }, @CurrentToken() token: LabelledToken) {
    return { isSame: authInfo.token === token && authInfo.token === authInfo.token };
  }
}

function contextOf(request: HttpRequest): ExecutionContext {
  const http = { getRequest: () => request, getResponse: () => ({}) };
  const handler = () => undefined;
  return {
    getType: () => 'http',
    getArgs: () => [request],
    getHandler: () => handler,
    getClass: () => InfoController,
    switchToHttp: () => http,
  } as unknown as ExecutionContext;
}

describe.each([
  ['from the database', false],
  ['from the cache', { ttl: '1h' }],
] as const)('request.authInfo.token %s', (_, cache) => {
  onEveryDatabase((environment) => {
    const boot = () =>
      environment.boot({ controllers: [InfoController], options: { tokenEntity: LabelledToken, cache } });

    const tokenIn = async (app: TestApp) => {
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id, { name: 'phone' });
      await app.dataSource.getRepository(LabelledToken).update({ id: token.id }, { label: 'blue' });
      // The first request fills the cache, if there is one.
      use = () => null;
      await app.get('/info', plainText);
      return { plainText, id: token.id };
    };

    it('is made once, and only for a handler that reads it', async () => {
      const app = await boot();
      const { plainText } = await tokenIn(app);
      made = 0;
      use = () => null;
      expect((await app.get('/info', plainText)).status).toBe(200);
      expect(made).toBe(0);
      expect((await app.get('/info/current', plainText)).json).toEqual({ isSame: true });
      expect(made).toBe(1);
    });

    it('has all columns, whichever way a handler reads it', async () => {
      const app = await boot();
      const { plainText, id } = await tokenIn(app);
      const ways: ((authInfo: AuthInfo) => AuthInfo)[] = [
        (authInfo) => authInfo,
        (authInfo) => ({ ...authInfo }),
        (authInfo) => Object.assign({}, authInfo),
        (authInfo) => Object.fromEntries(Object.entries(authInfo)) as AuthInfo,
      ];
      for (const way of ways) {
        use = (authInfo) => {
          const { token } = way(authInfo);
          return [token instanceof LabelledToken, token.id, token.label, token.name];
        };
        expect((await app.get('/info', plainText)).json.used).toEqual([true, id, 'blue', 'phone']);
      }
      use = (authInfo) => JSON.parse(JSON.stringify(authInfo)) as unknown;
      expect((await app.get('/info', plainText)).json.used).toMatchObject({ token: { id, label: 'blue' } });
      use = (authInfo) => inspect(authInfo);
      expect((await app.get('/info', plainText)).json.used).toContain(`id: '${id}'`);
    });

    it('can be replaced, and belongs to one request alone', async () => {
      const app = await boot();
      const { plainText } = await tokenIn(app);
      use = (authInfo) => {
        authInfo.token.label = 'red';
        authInfo.token.created.setTime(0);
        authInfo.token = Object.assign(new LabelledToken(), { label: 'green' });
        return authInfo.token.label;
      };
      expect((await app.get('/info', plainText)).json.used).toBe('green');
      use = (authInfo) => authInfo.token.label;
      const after = await app.get('/info', plainText);
      expect([after.status, after.json.used]).toEqual([200, 'blue']);
    });
  });
});

describe('A request whose token is cached', () => {
  onEveryDatabase(
    (environment) => {
      it('is accepted without a promise', async () => {
        const app = await environment.boot({ options: { cache: { ttl: '1h' } } });
        const authorization = `Bearer ${await app.token()}`;
        const guard = app.nest.get(ExpiringTokenGuard, { strict: false });
        const contexts = Array.from({ length: 3 }, () => contextOf({ headers: { authorization } }));
        for (const context of contexts.slice(1)) expect(await guard.canActivate(context)).toBe(true);
        let promises = 0;
        const hook = createHook({ init: (_id, type) => (promises += type === 'PROMISE' ? 1 : 0) }).enable();
        const accepted = guard.canActivate(contexts[0]!);
        hook.disable();
        expect(promises).toBe(0);
        expect(await accepted).toBe(true);
      });
    },
    ['sqlite'],
  );
});
