import { inspect } from 'node:util';
import { HttpException, Injectable, UnauthorizedException } from '@nestjs/common';
import { type Credentials, ExpiringTokenException, type UserStore } from 'nestjs-expiring-token';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { warnings, onEveryEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';

const ANN = { id: '7' };

/** A user store that returns what a test sets, and accepts ann otherwise. */
@Injectable()
class ToldUsers implements UserStore<typeof ANN> {
  answers: { found: (username: string) => unknown; active: () => unknown; id: () => unknown };

  constructor() {
    this.reset();
  }

  reset() {
    this.answers = { found: () => ANN, active: () => true, id: () => ANN.id };
  }

  findById = async (id: string) => this.answers.found(id) as typeof ANN;
  validateCredentials = async ({ username }: Credentials) => this.answers.found(username) as typeof ANN;
  isActive = () => this.answers.active() as boolean;
  getId = () => this.answers.id() as string;
}

describe('A user store of the application', () => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      let users: ToldUsers;
      beforeAll(async () => {
        app = await environment.boot({ options: { users: ToldUsers, refresh: {} } });
        users = app.nest.get(USER_STORE);
      });
      afterEach(() => users.reset());

      /** The responses of the three ways to authenticate, for a user who has tokens. */
      async function authenticateEachWay() {
        const { active, found } = users.answers;
        users.reset();
        const { access, refresh } = await app.tokens.logIn(ANN.id);
        Object.assign(users.answers, { active, found });
        const answers = [
          await app.login('ann'),
          await app.get('/me', access.plainText),
          await app.post('/auth/refresh', { refreshToken: refresh!.plainText }),
        ];
        return answers.map(({ status, json }) => [status, json.code ?? 'in']);
      }

      const IN = [200, 'in'];
      const OUT = [
        [401, 'credentials_invalid'],
        [401, 'user_inactive'],
        [401, 'user_inactive'],
      ];

      it('authenticates only users that isActive confirms with true', async () => {
        expect(await authenticateEachWay()).toEqual([IN, IN, IN]);
        const no = [
          undefined,
          null,
          0,
          1,
          '',
          'f',
          't',
          1n,
          Buffer.from([0]),
          {},
          Promise.resolve(true),
          new Boolean(1),
        ];
        for (const active of [false, ...no]) {
          users.answers.active = () => active;
          expect(await authenticateEachWay(), inspect(active)).toEqual(OUT);
        }
      });

      it('finds no user if the store returns anything but a user object', async () => {
        for (const found of [null, undefined, false, true, 0, 7, '', 'ann', Symbol('ann')]) {
          users.answers.found = () => found;
          expect(await authenticateEachWay(), inspect(found)).toEqual(OUT);
        }
      });

      it('that returns an invalid id is answered 503, and the log explains what to do', async () => {
        const before = await app.countTokens();
        for (const id of ['', '7 ', 'a\0', '\ud800', 'x'.repeat(256), 7, null, undefined, {}, Promise.resolve('7')]) {
          users.answers.id = () => id;
          const lines = warnings.length;
          for (const path of ['/auth/login', '/auth/obtain-token']) {
            const answer = await app.post(path, { username: 'ann', password: PASSWORD });
            expect(answer, `${inspect(id)}, ${path}`).toMatchObject({
              status: 503,
              json: { code: 'unavailable' },
            });
            expect(answer.headers['retry-after'], `${inspect(id)}, ${path}`).toBe('1');
          }
          const logLine = expect.stringMatching(
            /Answering 503: A user id must be .*: return one from UserStore\.getId /,
          );
          expect(warnings.slice(lines), inspect(id)).toEqual([logLine, logLine]);
        }
        expect(await app.countTokens()).toBe(before);
      });

      it('that rejects with its own exception is answered with a challenge too', async () => {
        const { access, refresh } = await app.tokens.logIn(ANN.id);
        for (const error of [
          new UnauthorizedException('not today'),
          new HttpException({ reason: 'no' }, 401),
          new ExpiringTokenException('credentials_invalid', { retryAfterSeconds: 5 }),
        ]) {
          users.answers.found = () => {
            throw error;
          };
          const answers = [
            await app.login('ann'),
            await app.get('/me', access.plainText),
            await app.get('/auth/token', access.plainText),
            await app.post('/auth/refresh', { refreshToken: refresh!.plainText }),
          ];
          for (const [index, { status, headers }] of answers.entries()) {
            expect([status, headers['www-authenticate']], `${String(error)}, answer ${index}`).toEqual([
              401,
              'Bearer realm="api"',
            ]);
          }
        }
      });

      it('cannot break the challenge header with the message of its exception', async () => {
        const { access } = await app.tokens.logIn(ANN.id);
        const message = 'user "ann" \\ é\r\nX: y';
        users.answers.found = () => {
          throw new ExpiringTokenException('user_inactive', { message });
        };
        const { status, json, headers } = await app.get('/me', access.plainText);
        expect({ status, message: json.message }).toEqual({ status: 401, message });
        expect(headers['www-authenticate']).toBe(
          'Bearer realm="api", error="invalid_token", error_description="user ?ann? ? ???X: y"',
        );
        expect(headers).not.toHaveProperty('x');
      });

      it('cannot forge lines of the log, and neither can a user name', async () => {
        const name = 'ann\r\n[Nest] 1  LOG forged\u001b[31m\u202e\u0085\u2028';
        users.answers.found = (username) => {
          throw new Error(`no entry for ${username}`);
        };
        const before = warnings.length;
        expect((await app.login(name)).status).toBe(503);
        const lines = warnings.slice(before);
        expect(lines).toHaveLength(1);
        expect(lines[0]).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
        expect(lines[0]).toContain(
          String.raw`no entry for ann\u{d}\u{a}[Nest] 1  LOG forged\u{1b}[31m\u{202e}\u{85}\u{2028}`,
        );
      });
    },
    { databases: ['sqlite'] },
  );
});
