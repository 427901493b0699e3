import { setImmediate as nextTurn } from 'node:timers/promises';
import type { UserStore } from 'nestjs-expiring-token';
import { describe, expect, it, vi } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { DATABASE, USER_STORE } from '../lib/expiring-token.constants.js';
import { lookUpTurn } from '../lib/users/password-hash.js';
import { onEveryDatabase, PASSWORD } from './fixtures/app.js';

describe('While many users log in simultaneously', () => {
  onEveryDatabase((environment) => {
    it('users are looked up one after the other, shortly before their hashes are computed', async () => {
      const app = await environment.boot();
      const read = vi.spyOn(app.nest.get<Database>(DATABASE), 'read');
      const users = app.nest.get<UserStore>(USER_STORE);
      const { username } = await app.createUser();
      const logins = Array.from({ length: 60 }, () => users.validateCredentials({ username, password: PASSWORD }));
      await Promise.race(logins);
      // Each login looks the user up twice.
      expect(read.mock.calls.length).toBeLessThan(50);
      expect((await Promise.all(logins)).every((user) => user !== null)).toBe(true);
      expect(read.mock.calls.length).toBe(120);
    });
  });

  it('other work of the process goes on between the look-ups, and a limited number of them waits', async () => {
    let admitted = 0;
    const turns = Promise.allSettled(Array.from({ length: 600 }, () => lookUpTurn().then(() => admitted++)));
    await nextTurn();
    expect(admitted).toBeLessThanOrEqual(2);
    const refused = (await turns).filter(({ status }) => status === 'rejected');
    expect(refused.length).toBeGreaterThan(50);
    expect(refused.length).toBeLessThan(100);
    expect((refused[0] as PromiseRejectedResult).reason).toMatchObject({ code: 'unavailable' });
  });
});
