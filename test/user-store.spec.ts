import { Injectable } from '@nestjs/common';
import type { UserStore } from 'nestjs-expiring-token';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { onEveryStack, type TestApp } from './fixtures/app.js';

const ANN = { id: '7' };

/** A store that does what a test tells it, and lets ann in otherwise. */
@Injectable()
class ToldUsers implements UserStore<typeof ANN> {
  answers: { found: () => unknown; active: () => unknown; id: () => unknown };

  constructor() {
    this.reset();
  }

  reset() {
    this.answers = { found: () => ANN, active: () => true, id: () => ANN.id };
  }

  findById = async () => this.answers.found() as typeof ANN;
  validateCredentials = async () => this.answers.found() as typeof ANN;
  isActive = () => this.answers.active() as boolean;
  getId = () => this.answers.id() as string;
}

describe('A user store of the application', () => {
  onEveryStack(
    (stack) => {
      let app: TestApp;
      let users: ToldUsers;
      beforeAll(async () => {
        app = await stack.boot({ options: { users: ToldUsers, refresh: {} } });
        users = app.nest.get(USER_STORE);
      });
      afterEach(() => users.reset());

      /** The answers of the three ways in, to a user who had tokens before. */
      async function knock() {
        const { access, refresh } = await app.tokens.logIn(ANN.id);
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

      it('lets in whom it says to be active, and nobody of whom it says anything else', async () => {
        expect(await knock()).toEqual([IN, IN, IN]);
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
          expect(await knock()).toEqual(OUT);
        }
      });

      it('has no user where it gives none, whatever it gives instead', async () => {
        for (const found of [null, undefined, false, true, 0, 7, '', 'ann', Symbol('ann')]) {
          users.answers.found = () => found;
          expect(await knock()).toEqual(OUT);
        }
      });
    },
    { databases: ['sqlite'] },
  );
});
