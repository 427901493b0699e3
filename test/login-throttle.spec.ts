import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import {
  ForbiddenException,
  ServiceUnavailableException,
  HttpException,
  Injectable,
  Logger,
  UnauthorizedException,
} from '@nestjs/common';
import { Redis } from 'ioredis';
import {
  type Credentials,
  ExpiringTokenException,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  type LoginThrottleOptions,
  type UserStore,
} from 'nestjs-expiring-token';
import { createClient, RESP_TYPES } from 'redis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { resolveOptions } from '../lib/options/resolve-options.js';
import { parseClientAddress } from '../lib/routes/login/client-network.js';
import { LoginThrottle } from '../lib/routes/login/login.throttle.js';
import { isRejection } from '../lib/routes/login/login.verifier.js';
import { hashPassword, verifyPassword } from '../lib/users/password-hash.js';
import {
  type BootOptions,
  onEveryAdapter,
  onEveryDatabase,
  PASSWORD,
  TestEnvironment,
  type TestApp,
  warnings,
} from './fixtures/app.js';
import type { Answer } from './fixtures/http.js';
import { SERVERS } from './fixtures/databases.js';
import { onRedis, connectRedis, FreezingRedis } from './fixtures/redis.js';

const LIMIT = 10;
const TTL_SECONDS = 300;

const THROTTLED = {
  statusCode: 429,
  error: 'Too Many Requests',
  message: 'Too many login attempts',
  code: 'throttled',
};

function expectThrottled({ status, json, headers }: Answer) {
  expect({ status, json }).toEqual({ status: 429, json: THROTTLED });
  expect(headers['retry-after']).toMatch(/^[1-9]\d*$/);
  expect(Number(headers['retry-after'])).toBeLessThanOrEqual(TTL_SECONDS);
}

const times = <T>(count: number, work: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)));

const countOf = (answers: Answer[], status: number) => answers.filter((answer) => answer.status === status).length;

/** Counts how often a user store verifies a password, because each verification computes a hash. */
const countHashes = (app: TestApp) => vi.spyOn(app.nest.get<UserStore>(USER_STORE), 'validateCredentials').mock.calls;

/** An application with default options, or with the given options of the throttle. */
const boot = (
  environment: TestEnvironment,
  loginThrottle?: LoginThrottleOptions,
  options: ExpiringTokenModuleOptions = {},
  more: BootOptions = {},
) =>
  environment.boot({
    ...more,
    module: [ExpiringTokenModule.forRoot({ ...options, ...(loginThrottle && { loginThrottle }) })],
  });

async function fail(app: TestApp, username: string, count: number): Promise<void> {
  for (let failures = 0; failures < count; failures++)
    expect((await app.login(username, 'wrong')).status, `failure ${failures}`).toBe(401);
}

describe('Failed logins, by default,', () => {
  onEveryAdapter((environment) => {
    it('are answered 429 after the tenth, like a correct login then, with the same bytes for unknown users', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      await fail(app, username, LIMIT);
      const answers = [
        await app.login(username, 'wrong'),
        await app.login(username),
        await app.login('nobody'),
        await app.post('/auth/obtain-token', { username, password: PASSWORD }),
      ];
      for (const answer of answers) expectThrottled(answer);
      expect(new Set(answers.map(({ text }) => text)).size).toBe(1);
      expect(answers[0]!.headers).toMatchObject({ 'cache-control': 'no-store', pragma: 'no-cache' });
      expect(answers[0]!.headers['www-authenticate']).toBeUndefined();
    });

    it('are counted together on login and obtain-token', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      await fail(app, username, LIMIT - 1);
      expect((await app.post('/auth/obtain-token', { username, password: 'wrong' })).status).toBe(401);
      expectThrottled(await app.login(username));
    });

    it('of an address stay counted after a successful login', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      await fail(app, username, LIMIT - 1);
      for (let login = 0; login < 3; login++) expect((await app.login(username)).status, `login ${login}`).toBe(200);
      await fail(app, 'nobody', 1);
      expectThrottled(await app.login(username));
    });

    it('are counted by the address of the connection, whatever headers a client sends', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      const answers: Answer[] = [];
      for (let attempt = 0; attempt <= LIMIT; attempt++) {
        const address = `198.51.100.${attempt}`;
        const headers = ['X-Forwarded-For', 'X-Real-IP', 'Forwarded', 'CF-Connecting-IP'].map(
          (name) => [name, name === 'Forwarded' ? `for=${address}` : address] as const,
        );
        const body = { username: `${username}${attempt}`, password: 'wrong' };
        answers.push(await app.send('/auth/login', { method: 'POST', headers, body }));
      }
      expect(countOf(answers, 401)).toBe(LIMIT);
      expectThrottled(answers.at(-1)!);
    });

    it('are counted by the address that a trusted proxy sends, and not by what the client put before it', async () => {
      const app = await boot(environment, { limit: 2 }, {}, { proxies: 1 });
      const { username } = await app.createUser();
      const from = async (forwarded: string, name: string = randomUUID()) => {
        const headers = [['X-Forwarded-For', forwarded]] as const;
        const body = { username: name, password: PASSWORD };
        return (await app.send('/auth/login', { method: 'POST', headers, body })).status;
      };
      for (const [attempt, status] of [401, 401, 429].entries())
        expect(await from('198.51.100.1'), `attempt ${attempt}`).toBe(status);
      // What the client sent stands before what the proxy appends.
      expect(await from('203.0.113.9, 198.51.100.1')).toBe(429);
      for (const [attempt, status] of [401, 401, 429].entries())
        expect(await from('2001:db8:1:2::3'), `attempt ${attempt}`).toBe(status);
      expect(await from('2001:db8:1:2:3::4')).toBe(429);
      expect(await from('198.51.100.2', username)).toBe(200);
      expect(await from('198.51.100.1', username)).toBe(429);
    });

    it('are counted by the address without the port that some proxies send', async () => {
      const app = await boot(environment, { limit: 3 }, {}, { proxies: 1 });
      const login = async (forwarded: string) => {
        const headers = [['X-Forwarded-For', forwarded]] as const;
        const body = { username: randomUUID(), password: 'wrong' };
        return (await app.send('/auth/login', { method: 'POST', headers, body })).status;
      };
      for (const addressOf of [
        (port: number) => `198.51.100.1:${port}`,
        (port: number) => `[2001:db8:1:2::${port}]:${port}`,
        (port: number) => `not an address, ${port}`,
      ]) {
        const statuses: number[] = [];
        for (let port = 4001; port <= 4005; port++) statuses.push(await login(addressOf(port)));
        expect(statuses, addressOf(0)).toEqual([401, 401, 401, 429, 429]);
      }
    });

    it('are not counted if the body is malformed', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      for (const body of [{}, { username }, { username, password: 7 }, [], { username, password: 'x'.repeat(1025) }]) {
        for (let attempt = 0; attempt < 5; attempt++) {
          expect((await app.post('/auth/login', body)).json.code, `${JSON.stringify(body)}, attempt ${attempt}`).toBe(
            'validation_failed',
          );
        }
      }
      await fail(app, username, LIMIT);
      expect((await app.post('/auth/login', {})).status).toBe(400);
      expectThrottled(await app.login(username));
    });

    it('are not counted if the database was unavailable', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      await app.dataSource.query('ALTER TABLE auth_user RENAME TO away');
      const outage = [...(await times(15, () => app.login(username))), await app.login(username)];
      expect(countOf(outage, 503)).toBe(16);
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_user');
      await fail(app, username, LIMIT - 1);
      expect((await app.login(username)).status).toBe(200);
    });

    it('are limited to ten of 200 simultaneous attempts (R12)', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      const hashes = countHashes(app);
      const answers = await times(200, () => app.login(username, 'wrong'));
      console.log(
        `R12 ${environment.databaseName}, ${environment.adapterName}: ${hashes.length} hashes of ${answers.length} attempts`,
      );
      expect([countOf(answers, 401), countOf(answers, 429), hashes.length]).toEqual([LIMIT, 200 - LIMIT, LIMIT]);
    });

    it('are limited to ten of 200 simultaneous attempts with different names', async () => {
      const app = await boot(environment);
      const hashes = countHashes(app);
      const answers = await times(200, (index) => app.login(`user ${index}`, 'wrong'));
      expect([countOf(answers, 401), countOf(answers, 429), hashes.length]).toEqual([LIMIT, 200 - LIMIT, LIMIT]);
    });

    it('are not mistaken for successful logins, any number of which may come simultaneously', async () => {
      const app = await boot(environment);
      const { username } = await app.createUser();
      expect(countOf(await times(40, () => app.login(username)), 200)).toBe(40);
      await fail(app, username, LIMIT - 1);
      expect(countOf(await times(10, () => app.login(username)), 200)).toBe(10);
    });
  });
});

describe('The option loginThrottle', () => {
  onEveryDatabase(
    (environment) => {
      it('sets limit and ttl, and false turns the throttle off', async () => {
        const strict = await boot(environment, { limit: 2, ttl: '1h' });
        const { username } = await strict.createUser();
        await fail(strict, username, 2);
        const { status, headers } = await strict.login(username);
        expect(status).toBe(429);
        expect(Number(headers['retry-after'])).toBeGreaterThan(3590);
        const off = await boot(environment, undefined, { loginThrottle: false });
        await fail(off, username, 12);
        expect((await off.login(username)).status).toBe(200);
      });
    },
    ['sqlite'],
  );

  it.each<[string, Pick<UserStore, 'canonicalName'>]>([
    ['the default of canonicalName', {}],
    ['a canonicalName of its own', { canonicalName: (name) => name.normalize('NFKC').toLowerCase().trim() }],
  ])('limits a user with many spellings to ten guesses in total, with %s', async (_, methods) => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    let guesses = 0;
    @Injectable()
    class LenientUsers implements UserStore<string> {
      findById = async (id: string) => id;
      getId = (user: string) => user;
      async validateCredentials({ username }: Credentials) {
        if (username.normalize('NFKC').toLowerCase().trim() === 'somebody') guesses++;
        return null;
      }
    }
    Object.assign(LenientUsers.prototype, methods);
    const app = await boot(environment, undefined, { users: LenientUsers }, { proxies: 1 });
    const answers = await times(118, (index) => {
      const letters = 'somebody'.split('').map((letter, at) => (index & (1 << at) ? letter.toUpperCase() : letter));
      const username = `${' '.repeat(index % 3)}${letters.join('')}`;
      const headers = [['X-Forwarded-For', `198.51.100.${index}`]] as const;
      return app.send('/auth/login', { method: 'POST', headers, body: { username, password: 'wrong' } });
    });
    expect([guesses, countOf(answers, 401), countOf(answers, 429)]).toEqual([LIMIT, LIMIT, 118 - LIMIT]);
    await environment.close();
  });

  it("also limits the calls of an application's user store", async () => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const verifications: string[] = [];
    @Injectable()
    class CountedUsers implements UserStore<string> {
      findById = async (id: string) => id;
      getId = (user: string) => user;
      async validateCredentials({ username }: Credentials) {
        verifications.push(username);
        if (username === 'throws') throw new UnauthorizedException();
        // Every way in which a user store rejects credentials counts as a failure.
        if (username === 'forbids') throw new ForbiddenException();
        if (username === 'fails') throw new ServiceUnavailableException();
        // A limit of the store itself, which refuses before it looks at the password.
        if (username === 'limits') throw new ExpiringTokenException('throttled', { retryAfterSeconds: 9 });
        return null;
      }
    }
    const app = await boot(environment, undefined, { users: CountedUsers });
    // A response that does not depend on the credentials is not counted.
    expect((await times(12, () => app.login('fails'))).map(({ status }) => status)).toEqual(
      Array.from({ length: 12 }, () => 503),
    );
    expect((await times(12, () => app.login('limits'))).map(({ headers }) => headers['retry-after'])).toEqual(
      Array.from({ length: 12 }, () => '9'),
    );
    verifications.length = 0;
    const answers = await times(200, (index) => app.login(['throws', 'ann', 'forbids'][index % 3]!));
    expect([countOf(answers, 401) + countOf(answers, 403), countOf(answers, 429)]).toEqual([LIMIT, 200 - LIMIT]);
    expect(verifications).toHaveLength(LIMIT);
    await environment.close();
  });
});

const wrong = () => Promise.reject(new UnauthorizedException());
const right = () => Promise.resolve('in');

/** The outcome of an attempt: its value, the status of its rejection, or the seconds to wait. */
const outcome = (attempt: Promise<unknown>) =>
  attempt.then(String, (error: unknown) => {
    if (!(error instanceof HttpException)) return (error as Error).message;
    const { retryAfterSeconds } = error as { retryAfterSeconds?: number };
    return retryAfterSeconds === undefined ? error.getStatus() : `wait ${retryAfterSeconds}`;
  });

/** An attempt that ends when the test decides. */
class Pending {
  started = false;
  end: (attempt: () => Promise<string>) => void;
  private readonly ended = new Promise<() => Promise<string>>((resolve) => {
    this.end = resolve;
  });

  readonly attempt = async () => {
    this.started = true;
    return (await this.ended)();
  };
}

/** Runs an attempt as `LoginVerifier` does. */
async function attemptAt<T>(
  throttle: LoginThrottle,
  address: string | undefined,
  name: string,
  check: () => Promise<T>,
): Promise<T> {
  const attempt = await throttle.acquire(address, name);
  try {
    const result = await check();
    await attempt.succeeded();
    return result;
  } catch (error) {
    await (isRejection(error) ? attempt.failed() : attempt.cancelled());
    throw error;
  }
}

const throttleOf = (loginThrottle: LoginThrottleOptions, users: Pick<UserStore, 'canonicalName'> = {}) =>
  new LoginThrottle(resolveOptions({ loginThrottle }), 'test', users);

describe('The login throttle', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('counts a name from all addresses together', async () => {
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    const from = (address: string, name: string, attempt: () => Promise<string>) =>
      outcome(attemptAt(throttle, address, name, attempt));
    expect(await from('192.0.2.1', 'ann', wrong)).toBe(401);
    expect(await from('192.0.2.2', 'ann', wrong)).toBe(401);
    expect(await from('192.0.2.3', 'ann', right)).toBe('wait 60');
    for (const name of [
      'annn',
      'an',
      'a nn',
      'a\u0301nn',
      '__proto__',
      'toString',
      '\0',
      'x'.repeat(1024),
      '',
      '\ud800',
    ]) {
      expect(await from('192.0.2.3', name, right), name).toBe('in');
    }
    for (const name of ['__proto__', 'constructor']) {
      expect(await from('192.0.2.4', name, wrong), name).toBe(401);
      expect(await from('192.0.2.5', name, wrong), name).toBe(401);
      expect(await from('192.0.2.6', name, right), name).toBe('wait 60');
    }
  });

  const SPELLINGS = ['ann', 'ANN', ' ann', 'ann\t', 'ａｎｎ', 'Ann\u00a0', 'ᵃnn'];

  it('counts the spellings of a name together, and after a success forgets those failures that had the same spelling', async () => {
    const throttle = throttleOf({ limit: 5, ttl: '1m' });
    let host = 0;
    const attempt = (name: string, work: () => Promise<string>) =>
      outcome(attemptAt(throttle, `192.0.2.${++host}`, name, work));
    for (const [index, name] of SPELLINGS.entries())
      expect(await attempt(name, wrong), name).toBe(index < 5 ? 401 : 'wait 60');
    const another = throttleOf({ limit: 3, ttl: '1m' });
    const attemptAnother = (name: string, work: () => Promise<string>) =>
      outcome(attemptAt(another, `192.0.2.${++host}`, name, work));
    // Ann and ANN may be two users: ANN must not be able to go on guessing the password of Ann.
    expect(await attemptAnother('ANN', wrong)).toBe(401);
    expect(await attemptAnother('Ann', wrong)).toBe(401);
    expect(await attemptAnother('ANN', right)).toBe('in');
    for (const result of [401, 401, 'wait 60']) expect(await attemptAnother('Ann', wrong)).toBe(result);
    expect(await attemptAnother('ANN', right)).toBe('wait 60');
  });

  it("counts a name as the store's canonicalName says, and a success of any spelling forgets all its failures", async () => {
    const canonicalName = (name: string) => name.normalize('NFD').replaceAll(/\p{M}/gu, '');
    const throttle = throttleOf({ limit: 3, ttl: '1m' }, { canonicalName });
    let host = 0;
    const attempt = (name: string, work: () => Promise<string>) =>
      outcome(attemptAt(throttle, `192.0.2.${++host}`, name, work));
    expect(await attempt('André', wrong)).toBe(401);
    expect(await attempt('Andre', wrong)).toBe(401);
    expect(await attempt('Andre\u0301', right)).toBe('in');
    for (const [index, name] of ['Andre', 'André', 'Andrè', 'Andrê'].entries())
      expect(await attempt(name, wrong), name).toBe(index < 3 ? 401 : 'wait 60');
    expect(await attempt('andre', right)).toBe('in');
  });

  it.each<[string, (name: string) => unknown]>([
    [
      'throws',
      () => {
        throw new Error('broken');
      },
    ],
    ['returns a promise', async (name) => name],
    ['returns nothing', () => undefined],
  ])('refuses a login with 503 if canonicalName %s', async (_, canonicalName) => {
    const throttle = throttleOf({}, { canonicalName: canonicalName as (name: string) => string });
    const check = vi.fn(right);
    expect(await outcome(attemptAt(throttle, '192.0.2.1', 'ann', check))).toBe('wait 1');
    expect(check).not.toHaveBeenCalled();
  });

  it('counts an address with each port and zone as one, and all texts that are no address as one, with one warning', async () => {
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    warnings.length = 0;
    const logged = vi.spyOn(Logger.prototype, 'warn').mockImplementation((line: string) => void warnings.push(line));
    let name = 0;
    const from = (address: string | undefined) => outcome(attemptAt(throttle, address, `name ${++name}`, wrong));
    for (const addresses of [
      ['192.0.2.1:1000', '::ffff:192.0.2.1', '192.0.2.1'],
      ['[2001:db8::1]:1000', '2001:db8::2', '[2001:db8::3%eth0]'],
    ]) {
      for (const [index, address] of addresses.entries())
        expect(await from(address), address).toBe(index < 2 ? 401 : 'wait 60');
    }
    expect(warnings).toEqual([]);
    for (const [index, text] of ['a\u009b31m', 'b\u2028', 'c', undefined].entries())
      expect(await from(text), text).toBe(index < 2 ? 401 : 'wait 60');
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/address of a client cannot be read: "a\\u\{9b\}31m".*trust proxy.*trustProxy/);
    logged.mockRestore();
  });

  it('forgets the failures of a name after its success, and of no other name', async () => {
    const throttle = throttleOf({ limit: 3, ttl: '1m' });
    const attempt = (name: string, work: () => Promise<string>, host = Math.random()) =>
      outcome(attemptAt(throttle, `2001:db8:0:${Math.floor(host * 65_535).toString(16)}::1`, name, work));
    for (let round = 0; round < 3; round++) {
      expect(await attempt('ann', wrong), `round ${round}`).toBe(401);
      expect(await attempt('ann', wrong), `round ${round}`).toBe(401);
      expect(await attempt('ann', right), `round ${round}`).toBe('in');
    }
    for (const [index, result] of [401, 401, 401, 'wait 60'].entries())
      expect(await attempt('bob', wrong), `result ${index}`).toBe(result);
    expect(await attempt('ann', right)).toBe('in');
    expect(await attempt('bob', right)).toBe('wait 60');
  });

  it('does not count an attempt that was rejected because of its name, neither by name nor by address', async () => {
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    for (const host of [1, 2])
      expect(await outcome(attemptAt(throttle, `192.0.2.${host}`, 'ann', wrong)), `host ${host}`).toBe(401);
    for (let attempt = 0; attempt < 5; attempt++) {
      expect(await outcome(attemptAt(throttle, '192.0.2.3', 'ann', wrong)), `attempt ${attempt}`).toBe('wait 60');
    }
    for (const [index, result] of [401, 401, 'wait 60'].entries()) {
      expect(await outcome(attemptAt(throttle, '192.0.2.3', randomUUID(), wrong)), `result ${index}`).toBe(result);
    }
  });

  it('lets an attempt wait if a running attempt may still succeed, and then accepts or rejects it', async () => {
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    const [one, two] = [new Pending(), new Pending()];
    const attempts = [one.attempt, two.attempt, right, wrong, wrong, wrong].map((attempt) =>
      outcome(attemptAt(throttle, '192.0.2.1', 'ann', attempt)),
    );
    one.end(wrong);
    two.end(right);
    // The third attempt gets the slot that the second returns, and after it the fourth gets that slot.
    expect(await Promise.all(attempts)).toEqual([401, 'in', 'in', 401, 'wait 60', 'wait 60']);
  });

  it('rejects attempts when a thousand already wait', async () => {
    const throttle = throttleOf({ limit: 1, ttl: '1m' });
    const first = new Pending();
    const line = Array.from({ length: 1000 }, () => outcome(attemptAt(throttle, '192.0.2.1', 'ann', first.attempt)));
    expect(await outcome(attemptAt(throttle, '192.0.2.1', 'bob', right))).toBe('wait 1');
    expect(await outcome(attemptAt(throttle, '192.0.2.2', 'bob', right))).toBe('in');
    first.end(right);
    expect(new Set(await Promise.all(line))).toEqual(new Set(['in']));
    expect(await outcome(attemptAt(throttle, '192.0.2.1', 'bob', right))).toBe('in');
  });

  it('counts every way in which a user store rejects credentials', async () => {
    for (const status of [400, 401, 403, 404, 429]) {
      const throttle = throttleOf({ limit: 2, ttl: '1m' });
      const refused = () => Promise.reject(new HttpException('no', status));
      for (const [index, result] of [status, status, 'wait 60'].entries()) {
        expect(
          await outcome(attemptAt(throttle, '192.0.2.1', 'ann', refused)),
          `status ${status}, result ${index}`,
        ).toBe(result);
      }
    }
  });

  it('does not count an attempt that throws or ends with another error', async () => {
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    const broken = () => Promise.reject(new Error('broken'));
    for (let attempt = 0; attempt < 5; attempt++) {
      expect(await outcome(attemptAt(throttle, '192.0.2.1', 'ann', broken)), `attempt ${attempt}`).toBe('broken');
    }
    const [slow, slower] = [new Pending(), new Pending()];
    const attempts = [slow.attempt, slower.attempt, wrong, wrong, wrong].map((attempt) =>
      outcome(attemptAt(throttle, '192.0.2.1', 'ann', attempt)),
    );
    slow.end(broken);
    slower.end(broken);
    expect(await Promise.all(attempts)).toEqual(['broken', 'broken', 401, 401, 'wait 60']);
  });

  it('ends the window ttl after the first failure, and refunds nothing of one window into the next', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    const attempt = (work: () => Promise<string>) => outcome(attemptAt(throttle, '192.0.2.1', 'ann', work));
    expect(await attempt(wrong)).toBe(401);
    const late = new Pending();
    const ended = attempt(late.attempt);
    vi.advanceTimersByTime(59_500);
    late.end(wrong);
    expect(await ended).toBe(401);
    expect(await attempt(right)).toBe('wait 1');
    vi.advanceTimersByTime(500);
    const across = new Pending();
    const acrossEnded = attempt(across.attempt);
    await Promise.resolve();
    vi.advanceTimersByTime(60_000);
    expect(await attempt(wrong)).toBe(401);
    across.end(right);
    expect(await acrossEnded).toBe('in');
    // The failures of the name are forgotten at the success. The address still has one failure in this window.
    expect(await outcome(attemptAt(throttle, '192.0.2.1', 'bob', wrong))).toBe(401);
    expect(await outcome(attemptAt(throttle, '192.0.2.1', 'bob', wrong))).toBe('wait 60');
  });

  it('keeps a window that is longer than a timer can be', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    const throttle = throttleOf({ limit: 1, ttl: '365d' });
    const attempt = () => outcome(attemptAt(throttle, '192.0.2.1', 'ann', wrong));
    expect(await attempt()).toBe(401);
    vi.advanceTimersByTime(24 * 24 * 60 * 60 * 1000);
    expect(await attempt()).toMatch(/^wait/);
  });

  it('is not affected by changes of the wall clock (F16)', async () => {
    vi.useFakeTimers({ toFake: ['Date'] });
    const throttle = throttleOf({ limit: 2, ttl: '1m' });
    const attempt = (work: () => Promise<string>) => outcome(attemptAt(throttle, '192.0.2.1', 'ann', work));
    expect(await attempt(wrong)).toBe(401);
    expect(await attempt(wrong)).toBe(401);
    for (const hours of [1, -2, 24]) {
      vi.setSystemTime(Date.now() + hours * 60 * 60 * 1000);
      expect(await attempt(right), `hours ${hours}`).toBe('wait 60');
    }
  });

  it('keeps nothing of successful or rejected attempts, and does not keep the process alive', async () => {
    const throttle = throttleOf({ limit: 3, ttl: '1m' });
    const timers = () => process.getActiveResourcesInfo().filter((resource) => resource === 'Timeout').length;
    const held = () => {
      const { attempts, counter } = throttle as unknown as { attempts: Map<string, unknown>; counter: any };
      return [attempts.size, counter.windows.size];
    };
    const before = timers();
    await times(50, (index) => attemptAt(throttle, '192.0.2.1', `user ${index}`, right));
    await times(50, (index) =>
      outcome(attemptAt(throttle, '192.0.2.1', `user ${index}`, () => Promise.reject(new Error()))),
    );
    expect(held()).toEqual([0, 0]);
    await times(50, (index) => outcome(attemptAt(throttle, '192.0.2.1', `user ${index}`, wrong)));
    expect(held()).toEqual([0, 4]);
    expect(timers()).toBe(before);
  });
});

onRedis(() => {
  describe('Failed logins that are counted in Redis', () => {
    const environment = new TestEnvironment('sqlite', 'express');
    const clients: Redis[] = [];
    const connect = (...args: Parameters<typeof connectRedis>) => {
      const redis = connectRedis(...args);
      clients.push(redis.on('error', () => undefined));
      return redis;
    };
    beforeAll(() => environment.open());
    afterAll(async () => {
      await environment.close();
      for (const redis of clients) redis.disconnect();
    });

    /** Two applications that stand for two processes, each with its own client. */
    const bootTwo = async () => {
      const keyPrefix = `test-${randomUUID()}:`;
      const boots = [0, 1].map(() => boot(environment, { redis: connect(keyPrefix) }));
      const [one, two] = (await Promise.all(boots)) as [TestApp, TestApp];
      return { one, two, keyPrefix };
    };

    it('are limited to ten of 200 simultaneous attempts on two applications (R12)', async () => {
      const { one, two } = await bootTwo();
      const { username } = await one.createUser();
      const hashes = [countHashes(one), countHashes(two)];
      const answers = await times(200, (index) => (index % 2 ? one : two).login(username, 'wrong'));
      console.log(`R12 two applications with Redis: ${hashes.flat().length} hashes of ${answers.length} attempts`);
      expect([countOf(answers, 401), countOf(answers, 429), hashes.flat().length]).toEqual([LIMIT, 200 - LIMIT, LIMIT]);
      for (const app of [one, two]) expectThrottled(await app.login(username));
    });

    it('are counted together by two applications with the URL of Redis, whose connections end with them', async () => {
      const name = `test-${randomUUID()}`;
      const url = `${SERVERS.redis}?keyPrefix=${name}:&connectionName=${name}`;
      const [one, two] = [await boot(environment, { redis: url }), await boot(environment, { redis: url })];
      const redis = connect('');
      const connections = async () => String(await redis.client('LIST')).split(name).length - 1;
      expect(await connections()).toBe(2);
      const { username } = await one.createUser();
      await fail(one, username, 5);
      await fail(two, username, 5);
      for (const app of [one, two]) expectThrottled(await app.login(username));
      for (const app of [one, two]) await app.nest.close();
      await vi.waitFor(async () => expect(await connections()).toBe(0), 5000);
    });

    it('are counted by each process alone if the URL leads to no Redis, which delays the start by a second at most', async () => {
      const startedAtMs = performance.now();
      const app = await boot(environment, { redis: 'redis://127.0.0.1:1' });
      expect(performance.now() - startedAtMs).toBeLessThan(5000);
      const { username } = await app.createUser();
      await fail(app, username, LIMIT);
      expectThrottled(await app.login(username));
    });

    it.each(['default', 'none'])(
      'are counted by a client that connects lazily, with offline queue: %s',
      async (queue) => {
        const keyPrefix = `test-${randomUUID()}:`;
        const lazy = { keyPrefix, lazyConnect: true, ...(queue === 'none' && { enableOfflineQueue: false }) };
        const pair = [0, 1].map(() => new Redis(SERVERS.redis, lazy));
        const [one, two] = (await Promise.all(pair.map((redis) => boot(environment, { redis })))) as [TestApp, TestApp];
        await vi.waitFor(() => expect(pair.map(({ status }) => status)).toEqual(['ready', 'ready']), 5000);
        const { username } = await one.createUser();
        await fail(one, username, 5);
        await fail(two, username, 5);
        for (const app of [one, two]) expectThrottled(await app.login(username));
        for (const redis of pair) redis.disconnect();
      },
    );

    it('are not mistaken for successful logins', async () => {
      const { one } = await bootTwo();
      const { username } = await one.createUser();
      expect(countOf(await times(40, () => one.login(username)), 200)).toBe(40);
      await fail(one, username, LIMIT - 1);
      expect(countOf(await times(10, () => one.login(username)), 200)).toBe(10);
    });

    it('are forgotten in all processes after a success in one of them, but not those of the address', async () => {
      const { one, two, keyPrefix } = await bootTwo();
      const redis = connect('');
      const counts = async () => {
        const keys = await redis.keys(`${keyPrefix}*`);
        return Object.fromEntries(
          await Promise.all(keys.map(async (key) => [/address|name/.exec(key)![0], (await redis.hvals(key)).join()])),
        );
      };
      const { username } = await one.createUser();
      await fail(one, username, 5);
      expect(await counts()).toEqual({ address: '5', name: '5' });
      expect((await two.login(username)).status).toBe(200);
      expect(await counts()).toEqual({ address: '5' });
      await fail(two, username, 5);
      expectThrottled(await one.login(username));
      expect(await counts()).toEqual({ address: '10', name: '5' });
      // A name is not even looked up in Redis if its address is already blocked.
      expectThrottled(await one.login('another'));
      expect(await redis.keys(`${keyPrefix}*`)).toHaveLength(2);
    });

    it('are kept for the length of the window, and without names', async () => {
      const keyPrefix = `test-${randomUUID()}:`;
      const app = await boot(environment, { redis: connect(keyPrefix), ttl: 1500 });
      await fail(app, 'a-name-to-be-found', 1);
      const redis = connect('');
      const keys = await redis.keys(`${keyPrefix}*`);
      expect(keys).toHaveLength(2);
      for (const key of keys) {
        expect(key, key).toMatch(/^test-[\w-]+:expiring-token:[\w-]{22}:login:(address|name):[\w-]{43}$/);
        expect(await redis.pttl(key), key).toBeGreaterThan(0);
        expect(await redis.pttl(key), key).toBeLessThanOrEqual(2000);
      }
    });

    const SPOILT: [what: string, write: (redis: Redis, key: string, member: string) => Promise<unknown>][] = [
      ['a text', (redis, key) => redis.set(key, 'abc')],
      ['a list', (redis, key) => redis.lpush(key, 'abc')],
      ['a hash of texts', (redis, key, member) => redis.hset(key, member, 'abc')],
      ['a number without expiry', (redis, key, member) => redis.hset(key, member, '3')],
      ['a negative number', (redis, key, member) => redis.hset(key, member, '-5')],
    ];
    const KINDS = ['name', 'address'] as const;

    it.each(KINDS.flatMap((kind) => SPOILT.map(([what, write]) => [kind, what, write] as const)))(
      'do not lock anybody out forever if the key of the %s holds %s, and still end in 429',
      async (kind, _, write) => {
        const keyPrefix = `test-${randomUUID()}:`;
        const [app, redis] = [await boot(environment, { redis: connect(keyPrefix) }), connect('')];
        const { username } = await app.createUser();
        await fail(app, username, 1);
        const [key] = (await redis.keys(`${keyPrefix}*${kind}*`)) as [string];
        const [member] = (await redis.hkeys(key)) as [string];
        const spoil = async () => {
          await redis.del(key);
          await write(redis, key, member);
        };
        await spoil();
        const started = performance.now();
        expect((await app.login(username)).status).toBe(200);
        expect(performance.now() - started).toBeLessThan(2000);
        // A successful login forgets the failures of the name.
        await spoil();
        const answers: Answer[] = [];
        for (let attempt = 0; attempt <= LIMIT; attempt++) answers.push(await app.login(username, 'wrong'));
        expect(answers[0]!.status).toBe(401);
        expectThrottled(answers.at(-1)!);
        expect(countOf(answers, 401) + countOf(answers, 429)).toBe(answers.length);
        // After the windows only keys that never had an expiry are left in Redis, and nothing in the process.
        for (const counted of await redis.keys(`${keyPrefix}*`)) {
          const ttlMs = await redis.pttl(counted);
          expect(ttlMs, counted).toBeLessThanOrEqual(TTL_SECONDS * 1000);
          if (ttlMs >= 0) await redis.del(counted);
        }
        const later = await boot(environment, { redis: connect(keyPrefix) });
        await fail(later, username, LIMIT - 1);
        expect((await later.login(username)).status).toBe(200);
      },
    );

    it.each(KINDS)('are limited for at most ttl by a full count of the %s without an expiry', async (kind) => {
      const keyPrefix = `test-${randomUUID()}:`;
      const [app, redis] = [await boot(environment, { redis: connect(keyPrefix) }), connect('')];
      const { username } = await app.createUser();
      await fail(app, username, 1);
      const [key] = (await redis.keys(`${keyPrefix}*${kind}*`)) as [string];
      await redis.del(key);
      await redis.hset(key, 'somebody', String(LIMIT));
      expect(await redis.pttl(key)).toBe(-1);
      expectThrottled(await app.login(username));
      expect(await redis.pttl(key)).toBeGreaterThan(0);
      expect(await redis.pttl(key)).toBeLessThanOrEqual(TTL_SECONDS * 1000);
    });

    it('are counted exactly, however the commands of simultaneous attempts and processes interleave', async () => {
      const keyPrefix = `test-${randomUUID()}:`;
      const pair = [connect(keyPrefix), connect(keyPrefix)];
      await Promise.all(pair.map((client) => client.ping()));
      const [one, two] = pair.map((redis) => throttleOf({ limit: 1, redis })) as [LoginThrottle, LoginThrottle];
      // Each attempt ends while Redis refuses the next one, which waits for its slot.
      const brief = () => new Promise<string>((resolve) => setImmediate(resolve, 'in'));
      const results = await times(100, (host) => outcome(attemptAt(one, `192.0.2.${host}`, 'ann', brief)));
      expect(new Set(results)).toEqual(new Set(['in']));
      // The success returns all slots of the name. A slot that is returned later must not be free twice.
      const late = new Pending();
      const ended = outcome(attemptAt(one, '192.0.2.1', 'ann', late.attempt));
      await vi.waitFor(() => expect(late.started).toBe(true));
      const redis = connect('');
      const [name] = await redis.keys(`${keyPrefix}*name*`);
      await redis.del(name!);
      late.end(() => Promise.reject(new Error('broken')));
      expect(await ended).toBe('broken');
      expect(await redis.exists(name!)).toBe(0);
      expect(await outcome(attemptAt(two, '192.0.2.2', 'ann', wrong))).toBe(401);
      expect(await outcome(attemptAt(one, '192.0.2.3', 'ann', right))).toBe('wait 300');
    });

    it('are kept from a correct login by ioredis that returns numbers as strings', async () => {
      const redis = new Redis(SERVERS.redis, { stringNumbers: true, keyPrefix: `test-${randomUUID()}:` });
      clients.push(redis);
      const app = await boot(environment, { redis });
      const { username } = await app.createUser();
      for (let login = 0; login < 2 * LIMIT; login++) expect((await app.login(username)).status).toBe(200);
      await fail(app, username, LIMIT);
      expectThrottled(await app.login(username));
    });

    it.each([
      ['ioredis', async () => connect('', SERVERS.redis)],
      ['redis', () => createClient({ url: SERVERS.redis }).connect()],
      [
        'ioredis that returns numbers as strings',
        async () => {
          const redis = new Redis(SERVERS.redis, { stringNumbers: true });
          clients.push(redis.on('error', () => undefined));
          return redis;
        },
      ],
      [
        'redis that returns numbers as strings',
        () =>
          createClient({
            url: SERVERS.redis,
            commandOptions: { typeMapping: { [RESP_TYPES.NUMBER]: String } },
          }).connect(),
      ],
    ])('are counted, refunded and forgotten through a client of %s', async (_, open) => {
      const redis = await open();
      const throttle = throttleOf({ limit: 2, ttl: 1500, redis });
      const [address, name] = [`2001:db8:${randomUUID().slice(9, 18).replace('-', ':')}::1`, `name ${randomUUID()}`];
      const attempt = (check: () => Promise<string>) => outcome(attemptAt(throttle, address, name, check));
      const broken = () => Promise.reject(new Error('broken'));
      for (let count = 0; count < 3; count++) expect(await attempt(broken), `attempt ${count}`).toBe('broken');
      expect(await attempt(wrong)).toBe(401);
      expect(await attempt(right)).toBe('in');
      expect(await attempt(wrong)).toBe(401);
      expect(await attempt(right)).toBe('wait 2');
      const { network } = parseClientAddress(address)!;
      const digest = createHash('sha256').update(network).digest('base64url');
      const ttlMs = await connect('').pttl(`expiring-token:test:login:address:${digest}`);
      expect(ttlMs).toBeGreaterThan(0);
      expect(ttlMs).toBeLessThanOrEqual(1500);
      if ('destroy' in redis) redis.destroy();
    });

    it("are not skipped if a busy process reads Redis' response late", async () => {
      const keyPrefix = `test-${randomUUID()}:`;
      const [client, redis] = [connect(keyPrefix), connect('')];
      await client.ping();
      const throttle = throttleOf({ redis: client });
      for (let failures = 1; failures <= 3; failures++) {
        const attempt = outcome(attemptAt(throttle, '192.0.2.1', 'ann', wrong));
        await new Promise(setImmediate);
        // The process is blocked for longer than the time limit for Redis.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200);
        expect(await attempt, `failure ${failures}`).toBe(401);
        const [address] = await redis.keys(`${keyPrefix}*address*`);
        expect(await redis.hvals(address!), `failure ${failures}`).toEqual([String(failures)]);
      }
    });

    it('are counted by each process alone while Redis hangs, and together again afterwards', async () => {
      const proxy = new FreezingRedis();
      const [keyPrefix, url] = [`test-${randomUUID()}:`, await proxy.open()];
      const [app, redis] = [await boot(environment, { redis: connect(keyPrefix, url) }), connect('')];
      const { username } = await app.createUser();
      await fail(app, username, 1);
      const [keys] = [await redis.keys(`${keyPrefix}*`)];
      proxy.freeze();
      const started = performance.now();
      expect((await app.login(username)).status).toBe(200);
      console.log(`login with a frozen Redis: ${Math.round(performance.now() - started)} ms`);
      expect(performance.now() - started).toBeLessThan(2000);
      const answers = await times(50, () => app.login(username, 'wrong'));
      expect([countOf(answers, 401), countOf(answers, 429)]).toEqual([LIMIT, 40]);
      // The attempts do not wait for Redis one after another.
      expect(performance.now() - started).toBeLessThan(4000);
      proxy.thaw();
      // The attempt that hung is counted nowhere, so only the earlier failure counts.
      const counts = () => Promise.all(keys.map(async (key) => (await redis.hvals(key)).join()));
      await vi.waitFor(async () => expect(await counts()).toEqual(['1', '1']), 5000);
      const other = await app.createUser();
      await vi.waitFor(async () => expect((await app.login(other.username)).status).toBe(200), 5000);
      await fail(app, other.username, LIMIT - 1);
      expectThrottled(await app.login(other.username));
      proxy.close();
    });

    it('are counted by each process alone while Redis is not reachable', async () => {
      const proxy = new FreezingRedis();
      const url = await proxy.open();
      proxy.close();
      const app = await boot(environment, { redis: connect(undefined, url) });
      const { username } = await app.createUser();
      expect(countOf(await times(20, () => app.login(username)), 200)).toBe(20);
      const answers = await times(50, () => app.login(username, 'wrong'));
      expect([countOf(answers, 401), countOf(answers, 429)]).toEqual([LIMIT, 40]);
    });
  });
});

describe('Password hashing', () => {
  const MINIMAL = '$argon2id$v=19$m=8,t=1,p=1$MDEyMzQ1Njc$qWo5H0O6cqW9iK0uXJ0Q0A';

  it('rejects logins with 503 while hundreds wait, and accepts them afterwards', async () => {
    const results = await Promise.allSettled(Array.from({ length: 600 }, () => verifyPassword(MINIMAL, 'x')));
    const refused = results.filter(({ status }) => status === 'rejected') as PromiseRejectedResult[];
    expect(refused.length).toBeGreaterThan(50);
    expect(refused.length).toBeLessThanOrEqual(100);
    expect(refused[0]!.reason).toMatchObject({ code: 'unavailable', retryAfterSeconds: 1 });
    expect(await verifyPassword(await hashPassword(PASSWORD), PASSWORD)).toBe(true);
  });

  it('leaves one thread of the pool free for reading files', async () => {
    let computed = 0;
    const all = times(50, () => hashPassword(PASSWORD).then(() => computed++));
    await new Promise(setImmediate);
    await stat('.');
    expect(computed).toBeLessThan(10);
    await all;
  });
});
