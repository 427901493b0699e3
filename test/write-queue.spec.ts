import type { User } from 'nestjs-expiring-token';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { UserTransactions } from '../lib/tokens/transactions/user.transactions.js';
import { onEveryEnvironment, type TestApp } from './fixtures/app.js';
import type { Answer } from './fixtures/http.js';
import { tally } from './fixtures/iterations.js';

const WAITING = 10;

describe('The changes of a user', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    let user: User;
    let stolen: { token: string; deviceId: string };
    let owned: { token: string; deviceId: string };
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {}, timeout: '60s' } });
    });
    beforeEach(async () => {
      user = await app.createUser();
      const logIn = async () => {
        const { access } = await app.tokens.logIn(user.id);
        return { token: access.plainText, deviceId: access.token.deviceId };
      };
      [stolen, owned] = [await logIn(), await logIn()];
    });

    const outcomes = (answers: readonly Answer[]) =>
      tally(answers.map(({ status, json }) => `${status}${json?.code ? ` ${json.code}` : ''}`));

    const rename = ({ token, deviceId }: typeof stolen, name = 'renamed') =>
      app.send(`/auth/devices/${deviceId}`, {
        method: 'PATCH',
        headers: [['Authorization', `Bearer ${token}`]],
        body: { name },
      });

    const remove = ({ token }: typeof stolen, deviceId: string) =>
      app.send(`/auth/devices/${deviceId}`, { method: 'DELETE', headers: [['Authorization', `Bearer ${token}`]] });

    /** Occupies the queue of the user until the returned function is called. */
    function occupy(): () => void {
      let end!: () => void;
      const ended = new Promise<void>((resolve) => {
        end = resolve;
      });
      void app.nest.get(UserTransactions).runWithoutLock(user.id, () => ended, {});
      return end;
    }

    /** Sends requests while the queue is occupied, until this number of them waits or was answered. */
    async function whileOccupied(sends: readonly (() => Promise<Answer>)[], more: () => Promise<Answer>[] = () => []) {
      const end = occupy();
      const answers: Answer[] = [];
      const sending = sends.map(async (send) => answers.push(await send()));
      const queue = app.nest.get(UserTransactions)['queue'];
      const waiting = () => queue.waiting(user.id, false) + queue.waiting(user.id, true);
      while (waiting() + answers.length < sends.length) await new Promise((resolve) => setImmediate(resolve));
      const later = more();
      const before = outcomes(answers);
      while (later.length > 0 && waiting() + answers.length < sends.length + later.length)
        await new Promise((resolve) => setImmediate(resolve));
      end();
      await Promise.all(sending);
      return { before, after: outcomes(answers), later: await Promise.all(later) };
    }

    it('are rejected if more than ten wait that one token requested', async () => {
      const { before, after } = await whileOccupied(Array.from({ length: WAITING + 5 }, () => () => rename(stolen)));
      expect(before).toEqual({ '429 throttled': 5 });
      expect(after).toEqual({ '429 throttled': 5, 200: WAITING });
    });

    it.each<[string, () => Promise<Answer>, string]>([
      ['an unknown device', () => remove(stolen, '01b8e094-9b2e-7000-8000-000000000000'), '404 device_not_found'],
      ['all devices but the only one', () => app.post('/auth/logout-all', { keepCurrent: true }, stolen.token), '200'],
    ])('are not delayed by revocations that would end nothing: %s', async (_, send, expected) => {
      await app.tokens.revoke(user.id, owned.deviceId);
      const { before } = await whileOccupied(Array.from({ length: WAITING + 5 }, () => send));
      expect(before).toEqual({ [expected]: WAITING + 5 });
    });

    it('do not keep the same token from ending access', async () => {
      const { later } = await whileOccupied(
        Array.from({ length: WAITING + 5 }, () => () => rename(stolen)),
        () => [app.post('/auth/logout-all', undefined, stolen.token)],
      );
      expect(outcomes(later)).toEqual({ 200: 1 });
    });

    it('are still made for a token of which none waits, while 500 wait that others requested', async () => {
      const end = occupy();
      const flood = Array.from({ length: 510 }, () =>
        app.tokens.rename(user.id, stolen.deviceId, 'renamed').catch(({ code }: { code: string }) => code),
      );
      const mine = rename(owned);
      const queue = app.nest.get(UserTransactions)['queue'];
      await vi.waitUntil(() => queue.waiting(user.id, false) > 500, { timeout: 10_000, interval: 1 });
      end();
      expect((await mine).status).toBe(200);
      expect(
        tally((await Promise.all(flood)).map((outcome) => String(typeof outcome === 'string' && outcome))),
      ).toEqual({
        unavailable: 10,
        false: 500,
      });
    });

    it('that are rejected say when to try again', async () => {
      const answers: Answer[] = [];
      await whileOccupied(
        Array.from({ length: WAITING + 1 }, () => async () => {
          const answer = await rename(stolen);
          answers.push(answer);
          return answer;
        }),
      );
      const rejected = answers.find(({ status }) => status === 429)!;
      expect(rejected.json).toEqual({
        statusCode: 429,
        error: 'Too Many Requests',
        message: 'Too many requests',
        code: 'throttled',
      });
      expect(rejected.headers['retry-after']).toBe('1');
    });

    it('are made with another token although ten of one token wait, and revocations are made first', async () => {
      const { later, after } = await whileOccupied(
        Array.from({ length: WAITING }, () => () => rename(stolen)),
        () => [remove(owned, stolen.deviceId)],
      );
      expect(outcomes(later)).toEqual({ 204: 1 });
      // The device was revoked before it could be renamed.
      expect(after).toEqual({ '404 device_not_found': WAITING });
    });

    it('end although two applications name the same device again and again', async () => {
      const other = await environment.boot({ options: { refresh: {} } });
      const names = Array.from({ length: 30 }, (_, index) => `name ${index}`);
      const renames = names.map((name, index) =>
        (index % 2 ? app : other).tokens.rename(user.id, owned.deviceId, name),
      );
      await Promise.all(renames);
      const device = (await app.tokens.list(user.id)).find(({ id }) => id === owned.deviceId);
      expect(names).toContain(device!.name);
    });

    it('that two tokens request take turns', async () => {
      const sends = [
        ...Array.from({ length: WAITING }, (_, index) => () => rename(stolen, `stolen ${index}`)),
        () => rename(owned, 'mine'),
      ];
      const { after } = await whileOccupied(sends);
      expect(after).toEqual({ 200: WAITING + 1 });
      const names = (await app.tokens.list(user.id)).map(({ name }) => name);
      expect(names).toContain('mine');
    });
  });
});
