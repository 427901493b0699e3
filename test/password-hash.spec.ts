import { hash } from '@node-rs/argon2';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type * as App from './fixtures/app.js';

/** The computed hashes: each one costs time and memory. */
const computed = { verify: 0, hash: 0 };

/** The highest number of hashes that were computed simultaneously. */
const running = { now: 0, peak: 0 };

/** Texts that look like hashes and cannot be verified, and other texts. */
const BROKEN = {
  empty: '',
  'of another algorithm': `$2b$12$${'a'.repeat(53)}`,
  'of dollars': '$'.repeat(255),
  'too short': '$argon2id$v=19$m=8,t=1,p=1$AA$AA',
  'of short salt': `$argon2id$v=19$m=19456,t=2,p=1$${'A'.repeat(10)}$${'A'.repeat(43)}`,
  'of no parameters': `$argon2id$v=19$m=0,t=0,p=0$${'A'.repeat(22)}$${'A'.repeat(43)}`,
  'of all memory': `$argon2id$v=19$m=4000000000,t=2,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`,
  'of all time': `$argon2id$v=19$m=19456,t=4000000000,p=1$${'A'.repeat(22)}$${'A'.repeat(43)}`,
  'of too little memory for its lanes': `$argon2id$v=19$m=8,t=1,p=2$${'A'.repeat(22)}$${'A'.repeat(43)}`,
  'with bits left over': `$argon2id$v=19$m=19456,t=2,p=1$${'A'.repeat(21)}B$${'A'.repeat(43)}`,
};

describe('A rejected login computes one password hash', async () => {
  // Imports the modules again with a counter in them, because all specs of a worker share modules.
  vi.resetModules();
  vi.doMock('../lib/users/argon2.js', async (original) => {
    const argon2 = await original<typeof import('../lib/users/argon2.js')>();
    const counted =
      <Args extends unknown[], Result>(name: keyof typeof computed, compute: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        running.peak = Math.max(running.peak, ++running.now);
        const result = await compute(...args).finally(() => running.now--);
        // Nothing is computed for an invalid hash.
        if (result !== null) computed[name]++;
        return result;
      };
    return { ...argon2, verify: counted('verify', argon2.verify), hash: counted('hash', argon2.hash) };
  });
  const { warnings, onEveryDatabase, PASSWORD }: typeof App = await import('./fixtures/app.js');
  afterAll(() => {
    vi.doUnmock('../lib/users/argon2.js');
    vi.resetModules();
  });

  const weaker = await hash(PASSWORD, { memoryCost: 1024, timeCost: 1, parallelism: 1 });

  onEveryDatabase((environment) => {
    let app: App.TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    const createUser = async (password?: string | null, active = true) => {
      const { id, username } = await app.createUser();
      if (password !== undefined) await app.dataSource.getRepository('User').update({ id }, { password });
      await app.users.setActive(id, active);
      return username;
    };

    /** Logs in, and counts the computed hashes. */
    async function refuse(username: string, password = PASSWORD) {
      Object.assign(computed, { verify: 0, hash: 0 });
      const { status, text } = await app.login(username, password);
      return { status, text, computed: { ...computed } };
    }

    it('for every reason of rejection', async () => {
      const nobody = await refuse('nobody');
      expect(nobody).toMatchObject({ status: 401, computed: { verify: 1, hash: 0 } });
      expect(await refuse(await createUser(), 'wrong')).toEqual(nobody);
      expect(await refuse(await createUser(undefined, false))).toEqual(nobody);
      expect(await refuse(await createUser(weaker, false))).toEqual(nobody);
      expect(await refuse(await createUser(weaker), 'wrong')).toEqual(nobody);
      expect(await refuse(await createUser(null))).toEqual(nobody);
    });

    it.each(Object.entries(BROKEN))('if the stored hash is malformed: %s', async (_, broken) => {
      const nobody = await refuse('nobody');
      const username = await createUser(broken);
      const before = warnings.length;
      expect(await refuse(username)).toEqual(nobody);
      expect(warnings.slice(before)).toEqual([expect.stringContaining('A stored password hash cannot be verified')]);
      if (broken !== '') expect(warnings.at(-1)).not.toContain(broken);
      expect(warnings.at(-1)).not.toContain(username);
    });

    it('and a correct login with a weaker hash computes a second one, for active users only', async () => {
      expect(await refuse(await createUser(weaker))).toMatchObject({ status: 200, computed: { verify: 1, hash: 1 } });
    });

    it('with at most hashConcurrency hashes at the same time', async () => {
      for (const hashConcurrency of [1, 2]) {
        const limited = await environment.boot({ options: { hashConcurrency } });
        running.peak = 0;
        await Promise.all(Array.from({ length: 8 }, () => limited.login('nobody')));
        expect(running.peak, `hashConcurrency ${hashConcurrency}`).toBe(hashConcurrency);
      }
    });

    it('also if the throttle counts it', async () => {
      const strict = await environment.boot({ options: { loginThrottle: { limit: 2, ttl: '1h' } } });
      const username = await createUser(BROKEN['of no parameters']);
      const statuses = [];
      for (let login = 0; login < 3; login++) statuses.push((await strict.login(username)).status);
      expect(statuses).toEqual([401, 401, 429]);
    });
  });
});
