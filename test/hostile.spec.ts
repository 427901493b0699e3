import { readFileSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { Test } from '@nestjs/testing';
import {
  type ExpiringTokenErrorCode,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  ExpiringTokenOptionsError,
  Token,
} from 'nestjs-expiring-token';
import { In } from 'typeorm';
import { describe, expect, it, vi } from 'vitest';
import { generateToken } from '../lib/tokens/secret/token-secret.js';
import { TokenPruner } from '../lib/tokens/token.pruner.js';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { warnings, onEveryEnvironment, type TestEnvironment, type TestApp } from './fixtures/app.js';
import { type Expectation, type HostileCase, send, type Start } from './fixtures/hostile/case.js';
import { DatabaseMeter } from './fixtures/hostile/database-meter.js';
import { HEADER_CASES } from './fixtures/hostile/headers.js';
import { IMPORTED_CASES } from './fixtures/hostile/imported.js';
import { type Cast, castOf, LiveValues } from './fixtures/hostile/live-values.js';
import { REFRESH_CASES } from './fixtures/hostile/refresh.js';
import type { Answer } from './fixtures/http.js';

const { cases: CATALOGUE } = JSON.parse(
  readFileSync(new URL('fixtures/hostile/catalogue.json', import.meta.url), 'utf8'),
) as { cases: HostileCase[] };

const LONGEST_ANSWER_MS = 2000;
const LIFESPAN_S = 30 * 24 * 60 * 60;

/** The request that a case changes. */
const OPTIONS: ExpiringTokenModuleOptions = {
  lifespan: '30d',
  refresh: { idle: '60d', lifespan: '90d', grace: '30s' },
};

/** The response to a case, and the rows before and after it. */
interface Outcome {
  answer: Answer;
  liveValues: LiveValues;
  filled: HostileCase;
  before: string[];
  after: string[];
  /** Payloads of the event `expiring-token.reused`. */
  reused: object[];
}

type Effect = (outcome: Outcome, target: Target) => Promise<void> | void;

const SAME_PAIR = 'same successor pair as the first answer; rows in family unchanged';

/** Effects that a rejection may have. All other rejections must leave every row unchanged. */
const REVOKING: Record<string, Effect> = {
  'family revoked': familyRevoked,
  'whole family revoked: live device token and its access tokens answer 401; one reuse event emitted': familyRevoked,
};

/** Checks for the effects that the catalogue names. */
const EFFECTS: Record<string, Effect> = {
  ...REVOKING,
  [SAME_PAIR]: (outcome) => {
    // The number of repetitions is sealed with the pair.
    const withoutSeal = (rows: string[]) => new Set(rows.map((row) => ({ ...JSON.parse(row), sealed: undefined })));
    expect(withoutSeal(outcome.after)).toEqual(withoutSeal(outcome.before));
    const { deviceId, pairs } = outcome.liveValues.familyOf(outcome.filled);
    const { access: token, refresh: refreshToken } = pairs.at(-1)!;
    expect(outcome.answer.json).toMatchObject({ token, refreshToken, deviceId });
  },
  'exchanged for a new pair': async ({ answer, liveValues, filled, before, after }, { app }) => {
    const { userId, deviceId } = liveValues.familyOf(filled);
    expect(answer.json).toMatchObject({ tokenType: 'Bearer', expiresIn: LIFESPAN_S, deviceId });
    const is = (purpose: string) => (row: string) => row.includes(deviceId) && JSON.parse(row).purpose === purpose;
    const stays = (row: string) => !row.includes(deviceId) || is('access')(row);
    expect(after).toEqual(expect.arrayContaining(before.filter(stays)));
    expect(after.length - before.length).toBe(2);
    expect(after.filter(is('refresh'))).toHaveLength(1);
    expect((await app.get('/me', answer.json.token)).json.user.id).toBe(userId);
    expect(await app.tokens.refresh(answer.json.refreshToken)).toMatchObject({ access: { token: { deviceId } } });
  },
  "another user's device row untouched": ({ answer, filled, before, after }, { cast }) => {
    const ofOther = (rows: string[]) => rows.filter((row) => row.includes(cast.other.id));
    expect(ofOther(before)).not.toEqual([]);
    expect(ofOther(after)).toEqual(ofOther(before));
    const [, adopted] = filled.request.headers.find(([name]) => name === 'X-Device-Id')!;
    expect(answer.json.deviceId).not.toBe(adopted);
  },
  'stored ip = socket/trust-proxy ip only': ({ filled, before, after }) => {
    const added = after.filter((row) => !before.includes(row));
    expect(added).toHaveLength(2);
    for (const [name, value] of filled.request.headers) {
      if (/forward|real/i.test(name)) expect(added.join(), name).not.toContain(value.replace('for=', ''));
    }
  },
};

/** Checks that a forbidden effect did not happen. */
const NOT_EFFECTS: Record<string, Effect> = {
  'any extra field honoured': async ({ answer, before, after }, { app, cast }) => {
    expect(answer.json).toMatchObject({ expiresIn: LIFESPAN_S });
    const { json } = await app.get('/me', answer.json.token);
    expect(json.user).toEqual({ id: cast.user.id, username: cast.user.username, active: true });
    expect(after.filter((row) => before.includes(row))).toEqual(before);
  },
  'prototype polluted': () => {
    expect(({} as Record<string, unknown>).isAdmin).toBeUndefined();
  },
  'any token minted': unchanged,
  'device token rotated': unchanged,
  'device removed': unchanged,
  'any row removed': unchanged,
  'other sessions revoked': async ({ answer, liveValues, before, after }, { app }) => {
    expect(answer.status).toBe(204);
    expect(before.length - after.length).toBe(1);
    expect(await app.get('/me', await liveValues.value('token'))).toMatchObject({ status: 401 });
    expect(await app.get('/me', await liveValues.value('secondToken'))).toMatchObject({ status: 200 });
  },
  "other user's tokens revoked": async ({ liveValues }, { app }) => {
    expect(await app.get('/me', await liveValues.value('otherUserToken'))).toMatchObject({ status: 200 });
  },
  'lifetime above configured maximum, or never-expiring token': ({ answer, before, after }, { app }) => {
    expect(answer.status).toBe(200);
    expect(answer.json.expiresIn).toBe(LIFESPAN_S);
    expect(answer.json.expiresAt).toBe(new Date(app.clock.now + LIFESPAN_S * 1000).toISOString());
    const [added, ...more] = after.filter((row) => !before.includes(row));
    expect(more).toEqual([]);
    expect(JSON.parse(added!)).toMatchObject({ lifespan: null });
  },
};

function unchanged({ before, after }: Outcome): void {
  expect(after).toEqual(before);
}

async function familyRevoked({ liveValues, filled, before, after, reused }: Outcome, { app }: Target): Promise<void> {
  const { userId, deviceId, pairs } = liveValues.familyOf(filled);
  expect(after).toEqual(before.filter((row) => !row.includes(deviceId)));
  expect(before.length - after.length).toBe(pairs.length * 2);
  expect(reused).toEqual([{ userId, deviceId }]);
  for (const [index, { access, refresh: refreshToken }] of pairs.entries()) {
    expect(await app.get('/me', access), `pair ${index}`).toMatchObject({
      status: 401,
      json: { code: 'token_invalid' },
    });
    const refreshed = await app.post('/auth/refresh', { refreshToken });
    expect(refreshed, `pair ${index}`).toMatchObject({ status: 401, json: { code: 'refresh_invalid' } });
  }
  expect(reused).toHaveLength(1);
  expect(await app.get('/me', await liveValues.value('secondToken'))).toMatchObject({ status: 200 });
}

/** Values that must be read before the request, for the checks after it. */
const NEEDED: Record<string, string> = {
  'other sessions revoked': 'secondToken',
  "other user's tokens revoked": 'otherUserToken',
  ...Object.fromEntries(Object.keys(REVOKING).map((effect) => [effect, 'secondToken'])),
};

/** The `error` of the challenge for a code (RFC 6750 §3.1). For `refresh_invalid` the case names it. */
const CHALLENGE_ERRORS: Partial<Record<ExpiringTokenErrorCode, string>> = {
  token_invalid: 'invalid_token',
  token_expired: 'invalid_token',
  user_inactive: 'invalid_token',
  request_invalid: 'invalid_request',
};

/** Every 401 has a challenge, and so has a 400 for a token (RFC 6750 §3). */
function expectChallenge({ status, headers, json }: Answer): void {
  const error = CHALLENGE_ERRORS[json?.code as ExpiringTokenErrorCode];
  const found = /^Bearer realm="[^"]+"(?:, error="(.+)", error_description="(.+)")?$/.exec(
    headers['www-authenticate'] ?? '',
  );
  if (status === 401 || error) expect(found, 'challenge').not.toBeNull();
  if (json?.code === 'refresh_invalid') return;
  expect(found?.[1]).toBe(error);
  if (error) expect(found?.[2]).toBe(json.message);
}

/** The responses on the first database. All other databases must return the same. */
const firstAnswers = new Map<string, unknown>();

/** A running application with all that the cases need. */
class Target {
  /** Payloads of the event `expiring-token.reused` since the last case. */
  private readonly reused: object[] = [];

  private constructor(
    readonly environment: TestEnvironment,
    readonly app: TestApp,
    readonly cast: Cast,
    private readonly goodHeader: string,
    readonly meter: DatabaseMeter,
  ) {}

  static async boot(environment: TestEnvironment, options: ExpiringTokenModuleOptions = {}): Promise<Target> {
    const app = await environment.boot({
      options: { ...OPTIONS, ...options },
      imports: [EventEmitterModule.forRoot()],
    });
    // Background writes would be counted as queries of the requests.
    await app.nest.get(TokenPruner).beforeApplicationShutdown();
    const cast = await castOf(app);
    const [scheme = 'Bearer'] = options.schemes ?? [];
    const goodHeader = `${scheme} ${await app.token(cast.witness.id)}`;
    const target = new Target(environment, app, cast, goodHeader, new DatabaseMeter(app.dataSource));
    app.nest.get(EventEmitter2).on('expiring-token.reused', (event: object) => target.reused.push(event));
    return target;
  }

  /** Sends the request of a case and checks what must hold for every case. */
  async perform(hostileCase: HostileCase): Promise<Outcome> {
    await this.forgetTokens();
    const liveValues = new LiveValues(this.app, this.cast);
    const filled = await liveValues.fill(hostileCase);
    const { effect, mustNot, queries } = hostileCase.expect;
    const needed = NEEDED[effect ?? mustNot?.sideEffect ?? ''];
    if (needed) await liveValues.value(needed);
    // The valid requests before this one write their last uses in the background.
    await this.app.usesWritten();
    const before = await this.rows();
    const linesBefore = warnings.length;
    this.meter.take();
    const started = performance.now();
    const answer = await send(this.app.origin, filled);
    const took = performance.now() - started;
    const queryCount = this.meter.take();
    const after = await this.rows();
    await nextTurn();
    const reused = this.reused.splice(0);

    expect(answer.status, answer.text).toBeGreaterThanOrEqual(200);
    expect(answer.status, answer.text).toBeLessThan(500);
    expect(took).toBeLessThan(LONGEST_ANSWER_MS);
    if (!/^HEAD|^GET \/passport/.test(`${filled.request.method} ${filled.request.path}`)) expectChallenge(answer);
    if (answer.status >= 400 && !REVOKING[effect ?? '']) {
      expect(after).toEqual(before);
      expect(reused).toEqual([]);
    }
    if (queries === 0) expect(queryCount, 'ways to the database').toBe(0);
    const lines = warnings.slice(linesBefore).join('\n');
    const response = `${answer.text}\n${JSON.stringify(answer.headers)}`;
    for (const [index, secret] of liveValues.secrets.entries()) {
      expect(lines, `secret ${index}`).not.toContain(secret);
      // The only response that may repeat a token that was returned before.
      if (effect !== SAME_PAIR) expect(response, `secret ${index}`).not.toContain(secret);
    }
    for (const [index, secret] of [answer.json?.token, answer.json?.refreshToken].entries())
      if (typeof secret === 'string') expect(lines, `new secret ${index}`).not.toContain(secret);
    await this.expectGoodRequest();
    return { answer, liveValues, filled, before, after, reused };
  }

  async expectGoodRequest(): Promise<void> {
    const good = await this.app.send('/me', { headers: [['Authorization', this.goodHeader]] });
    expect(good.status).toBe(200);
    expect(good.json.user.id).toBe(this.cast.witness.id);
    // The next case may be sent to another application, and counts the statements of the whole process.
    await this.app.usesWritten();
  }

  /** Revokes what earlier cases created, so that each case starts with the same few rows. */
  private async forgetTokens(): Promise<void> {
    const { user, other, disabled, longPassword } = this.cast;
    const userId = In([user, other, disabled, longPassword].map(({ id }) => id));
    await this.app.dataSource.getRepository(Token).delete({ userId });
  }

  /** All rows of both tables without last_used_at of the credentials of the request, which may be written at any time. */
  private async rows(): Promise<string[]> {
    const hidden = ['digest', 'sealed', 'sealedUntil'].map((column) => `token.${column}`);
    const tokens = await this.app.dataSource
      .getRepository(Token)
      .createQueryBuilder('token')
      .addSelect(hidden)
      .getMany();
    const stableTokens = tokens.map(({ lastUsedAt, ...token }) =>
      /^(refresh|rotated)$/.test(token.purpose) ? { ...token, lastUsedAt } : token,
    );
    const users: object[] = await this.app.dataSource.query('SELECT * FROM auth_user');
    return [...stableTokens, ...users].map((row) => JSON.stringify(row)).toSorted();
  }
}

/** The messages of other codes name the cause, so they vary. */
const MESSAGES: Partial<Record<ExpiringTokenErrorCode, string>> = {
  token_missing: 'Authentication credentials were not provided',
  token_invalid: 'Invalid token',
  token_expired: 'Token has expired',
  user_inactive: 'User inactive or deleted',
  credentials_invalid: 'Unable to log in with provided credentials',
  refresh_invalid: 'Invalid refresh token',
  device_not_found: 'Device not found',
};

/** Checks the response against the expectation of the case. */
function expectAnswer({ answer, filled }: Outcome, { environment, cast }: Target): void {
  const { status, statusIn, code, header, headerContains, authenticated, mustNot } = filled.expect;
  const { request } = filled;
  const expected = typeof status === 'object' ? status[environment.adapterName] : status;
  if (expected !== undefined) expect(answer.status, answer.text).toBe(expected);
  if (statusIn) expect(statusIn, answer.text).toContain(answer.status);
  if (code) {
    const { message = expect.any(String) } = { message: MESSAGES[code] };
    expect(answer.json).toEqual({ statusCode: answer.status, error: STATUS_CODES[answer.status], message, code });
  }
  for (const [name, value] of Object.entries(header ?? {})) expect(answer.headers[name] ?? null, name).toBe(value);
  for (const [name, part] of Object.entries(headerContains ?? {})) expect(answer.headers[name], name).toContain(part);
  if (authenticated === true) expect(answer.json.user?.id ?? answer.json.id).toBe(cast.user.id);
  if (authenticated === false || mustNot?.authenticated) {
    expect(answer.text).not.toContain(cast.user.id);
    expect(answer.json?.token).toBeUndefined();
    if (mustNot?.authenticated) expect(answer.status).toBeGreaterThanOrEqual(400);
  }
  for (const refused of mustNot?.status ?? []) expect(answer.status, `status ${refused}`).not.toBe(refused);
  for (const name of mustNot?.header ?? []) expect(answer.headers, name).not.toHaveProperty(name);
  for (const [name, part] of Object.entries(mustNot?.headerContains ?? {})) {
    expect(answer.headers[name] ?? '', name).not.toContain(part);
  }
  for (const part of mustNot?.bodyContains ?? []) expect(answer.text, part).not.toContain(part);
  expect(request.method === 'HEAD' && answer.text, 'body of an answer to HEAD').toBeFalsy();
}

/** Checks the database and the other requests against the expectation of the case. */
async function expectEffects(outcome: Outcome, target: Target): Promise<void> {
  const { deviceName, storedLengthMax, effect, mustNot } = outcome.filled.expect;
  if (deviceName !== undefined || storedLengthMax !== undefined) {
    const { json } = await target.app.get('/auth/token', outcome.answer.json.token);
    if (deviceName !== undefined) expect(json.name).toBe(deviceName);
    if (storedLengthMax !== undefined) {
      expect([...json.name].length).toBeLessThanOrEqual(storedLengthMax);
      expect(Buffer.from(json.name).toString('latin1')).toBe(
        outcome.filled.request.headers.find(([name]) => name === 'X-Device-Model')![1],
      );
    }
  }
  if (effect) await named(EFFECTS, effect)(outcome, target);
  for (const not of [mustNot?.effect, mustNot?.sideEffect]) if (not) await named(NOT_EFFECTS, not)(outcome, target);
}

function named(effects: Record<string, Effect>, name: string): Effect {
  const effect = effects[name];
  if (!effect) throw new Error(`Nobody knows how to tell: ${name}`);
  return effect;
}

/** The parts of two responses that must be equal. */
const comparable = ({ status, text, headers }: Answer) => ({
  status,
  text,
  challenge: headers['www-authenticate'],
  type: headers['content-type'],
});

/** All fields of {@link Expectation}, so that a misspelt expectation fails and is not ignored. */
const EXPECTATIONS = new Set<keyof Expectation>([
  'status',
  'statusIn',
  'code',
  'header',
  'headerContains',
  'authenticated',
  'sameAs',
  'sameAcrossDbs',
  'queries',
  'deviceName',
  'storedLengthMax',
  'effect',
  'mustNot',
]);

function isCaseOf(cases: readonly HostileCase[]): (hostileCase: HostileCase) => boolean {
  return ({ expect: expectation }) =>
    Object.keys(expectation).every((key) => EXPECTATIONS.has(key as keyof Expectation)) &&
    (expectation.sameAs === undefined || cases.some(({ id }) => id === expectation.sameAs));
}

/**
 * Runs cases against applications of one environment, one for each set of options. What no database is asked about is seen on one
 * of them.
 */
function describeCases(cases: readonly HostileCase[], title: (hostileCase: HostileCase) => string): void {
  onEveryEnvironment((environment) => {
    const targets = new Map<string, Promise<Target>>();
    const targetOf = (options: ExpiringTokenModuleOptions | undefined): Promise<Target> => {
      const key = JSON.stringify(options ?? {});
      if (!targets.has(key)) targets.set(key, Target.boot(environment, options));
      return targets.get(key)!;
    };

    it('The query counter of these tests sees every way to the database', async () => {
      const { app, cast, meter } = await targetOf(undefined);
      const [good, unknown] = [await app.token(cast.user.id), generateToken('ext_', uuidV7(app.clock.now))];
      const askedFor = async (request: () => Promise<Answer>, status: number) => {
        meter.take();
        expect((await request()).status).toBe(status);
        return meter.take();
      };
      const [token, unknownToken, user, refresh, none] = [
        await askedFor(() => app.get('/me', good), 200),
        await askedFor(() => app.get('/me', unknown), 401),
        await askedFor(() => app.login('nobody'), 401),
        await askedFor(() => app.post('/auth/refresh', { refreshToken: unknown }), 401),
        await askedFor(() => app.get('/me'), 401),
      ];
      expect([token > 0, unknownToken > 0, user > 0, refresh > 0, none]).toEqual([true, true, true, true, 0]);
    });

    const own = cases.filter(({ expect: { queries } }) => environment.databaseName === 'sqlite' || queries !== 0);
    it.each(own.map((hostileCase) => [title(hostileCase), hostileCase] as const))('%s', async (_, hostileCase) => {
      const target = await targetOf(hostileCase.options);
      const outcome = await target.perform(hostileCase);
      expectAnswer(outcome, target);
      await expectEffects(outcome, target);
      const { sameAs, sameAcrossDbs } = hostileCase.expect;
      if (sameAs) {
        const { answer } = await target.perform(cases.find(({ id }) => id === sameAs)!);
        expect(comparable(outcome.answer)).toEqual(comparable(answer));
      }
      if (sameAcrossDbs) {
        const key = `${hostileCase.id}, ${environment.adapterName}`;
        if (!firstAnswers.has(key)) firstAnswers.set(key, comparable(outcome.answer));
        expect(comparable(outcome.answer)).toEqual(firstAnswers.get(key));
      }
    });
  });
}

const REQUESTS = CATALOGUE.filter(({ request }) => request.method !== 'CONFIG');
const CONFIGURATIONS = CATALOGUE.filter(({ request }) => request.method === 'CONFIG');

describe('The cases of the hostile catalogue', () => {
  it('have unique ids, and contain no expectation that is not checked', () => {
    const cases = [...CATALOGUE, ...HEADER_CASES, ...REFRESH_CASES, ...IMPORTED_CASES];
    expect(cases.filter((hostileCase) => !isCaseOf(cases)(hostileCase))).toEqual([]);
    expect(new Set(cases.map(({ id }) => id)).size).toBe(cases.length);
  });
});

/** The result of starting with these options. */
async function start(environment: TestEnvironment, options: ExpiringTokenModuleOptions): Promise<Start> {
  const [option = ''] = Object.keys(options);
  const failure: unknown = await Test.createTestingModule({ imports: [ExpiringTokenModule.forRoot(options)] })
    .compile()
    .catch((error: unknown) => error);
  // Without a data source, valid options do not start either.
  expect(failure).toBeInstanceOf(ExpiringTokenOptionsError);
  if ((failure as Error).message.startsWith(`ExpiringTokenModule: ${option}: `)) return 'BOOTSTRAP_ERROR';

  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const linesBefore = warnings.length;
    const { dataSource } = await environment.boot({ options });
    const meter = new DatabaseMeter(dataSource);
    // What runs once after the start
    await vi.advanceTimersToNextTimerAsync();
    expect(meter.take()).toBeGreaterThan(0);
    await vi.advanceTimersByTimeAsync(1000);
    expect([meter.take(), warnings.slice(linesBefore)]).toEqual([0, []]);
    return 'STARTS_QUIET';
  } finally {
    vi.useRealTimers();
  }
}

describe('A hostile configuration stops the start, or leaves nothing running', () => {
  onEveryEnvironment(
    (environment) => {
      it.each(CONFIGURATIONS.map((hostileCase) => [`${hostileCase.id}, ${hostileCase.why}`, hostileCase] as const))(
        '%s',
        async (_, hostileCase) => {
          const options = JSON.parse(JSON.stringify(hostileCase.request.options), (_key, value) =>
            value === '@@Infinity' ? Infinity : value,
          ) as ExpiringTokenModuleOptions;
          const { status, statusIn = [status] } = hostileCase.expect;
          expect(statusIn).toContain(await start(environment, options));
        },
      );
    },
    { adapters: ['express'], databases: ['sqlite'] },
  );
});

describe('A hostile request gets the response that its case expects', () => {
  describeCases(REQUESTS, ({ id, why }) => `${id}, ${why}`);
});

const described = ({ area, why }: HostileCase) => `${area}: ${why}`;

describe('The token is read from the Authorization header only', () => {
  describeCases(HEADER_CASES, described);
});

describe('A refresh token is accepted only on its route and only once', () => {
  describeCases(REFRESH_CASES, described);
});

describe('A token of another package is looked up only if its shape is enabled', () => {
  describeCases(IMPORTED_CASES, described);
});
