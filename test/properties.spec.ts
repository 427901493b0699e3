import { Agent } from 'node:http';
import fc from 'fast-check';
import type { User } from 'nestjs-expiring-token';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { generateToken } from '../lib/tokens/secret/token-secret.js';
import { TokenPruner } from '../lib/tokens/token.pruner.js';
import { warnings, onEveryEnvironment, PASSWORD, type TestEnvironment, type TestApp } from './fixtures/app.js';
import { DatabaseMeter } from './fixtures/hostile/database-meter.js';
import { type Answer, bearer, type RequestOptions } from './fixtures/http.js';
import { IS_THOROUGH } from './fixtures/iterations.js';
import { isOlder } from './fixtures/versions.js';

/* Requests that grammars generate. hostile.spec.ts has single ones. What is expected is computed here, never by the library. */

/** How many requests a property sends: a third of them where time is short, as each run sends other ones. */
const runs = (thorough: number) => (IS_THOROUGH ? thorough : Math.ceil(thorough / 3));

/** RFC 6750 §3, with the attributes that are used here. */
const CHALLENGE =
  /^Bearer realm="[ !#-[\]-~]*"(?:, error="(?<error>[ !#-[\]-~]+)", error_description="(?<description>[ !#-[\]-~]+)")?$/;

/** A text that is changed in one place: characters are inserted, removed or doubled. */
const spliced = (text: string, unit: fc.Arbitrary<string>) =>
  fc
    .tuple(fc.nat(text.length), fc.string({ unit, maxLength: 2 }), fc.integer({ min: -2, max: 2 }))
    .map(([at, put, cut]) => text.slice(0, at) + put + text.slice(Math.max(0, at + cut)));

/** A part of a text. */
const cut = (text: string) =>
  fc.tuple(fc.nat(text.length), fc.nat(text.length)).map(([from, to]) => text.slice(from, to));

/** An answer without its time of day. */
const comparable = ({ status, text, headers: { date: _, ...headers } }: Answer) => ({ status, text, headers });

/** Express of NestJS 11 and of the first versions of 12 logs the errors of the body parser, although they are the client's. */
const LOGS_BODY_ERRORS = isOlder('@nestjs/platform-express', '12.3.0');

/** Fastify of these versions passes an empty parameter of a path to the handler. */
const HAS_EMPTY_PARAMETERS = isOlder('@nestjs/platform-fastify', '12.2.0');

/** A running application with a user who has a token. */
class Target {
  readonly meter: DatabaseMeter;
  private readonly agent = new Agent({ keepAlive: true });

  private constructor(
    readonly app: TestApp,
    readonly user: User,
    public token = '',
    public deviceId = '',
  ) {
    this.meter = new DatabaseMeter(app.dataSource);
  }

  static async boot(environment: TestEnvironment): Promise<Target> {
    const app = await environment.boot({ options: { refresh: { idle: '7d' } } });
    await app.nest.get(TokenPruner).beforeApplicationShutdown();
    // Or the server ends a connection on which the agent is about to send, if the process pauses for five seconds.
    app.nest.getHttpServer().keepAliveTimeout = 0;
    const target = new Target(app, await app.createUser());
    await target.renewToken();
    return target;
  }

  close(): void {
    this.agent.destroy();
  }

  /** Gives the user a token whose last use is already written, so that no write of it is counted among the statements. */
  async renewToken(): Promise<void> {
    const { plainText, token } = await this.app.tokens.issue(this.user.id);
    [this.token, this.deviceId] = [plainText, token.deviceId];
    await this.app.get('/me', plainText);
    await this.app.usesWritten();
  }

  /** Sends a request, and asserts what holds for every request. */
  async send(path: string, options: RequestOptions): Promise<Answer & { statements: number; logged: string }> {
    const lines = warnings.length;
    this.meter.take();
    const answer = await this.app.send(path, { agent: this.agent, ...options });
    const statements = this.meter.take();
    expect(answer.status, answer.text).toBeLessThan(500);
    const logged = warnings.slice(lines);
    if (LOGS_BODY_ERRORS && [400, 413, 415].includes(answer.status)) {
      expect(logged.filter((line) => !line.endsWith(' ExceptionsHandler'))).toEqual([]);
    } else {
      expect(logged).toEqual([]);
    }
    // Passport drops the challenge.
    if (answer.status === 401 && path !== '/passport') expect(answer.headers['www-authenticate']).toMatch(CHALLENGE);
    return { ...answer, statements, logged: logged.join() };
  }
}

/** Boots a target for the tests of a block. */
function useTarget(environment: TestEnvironment): () => Target {
  let target: Target;
  beforeAll(async () => {
    target = await Target.boot(environment);
  });
  afterAll(() => target.close());
  return () => target;
}

describe('Any text in place of a token', () => {
  /** Every character that a header can hold. */
  const characters = fc.constantFrom(
    '\t',
    ...Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).filter((text) =>
      /[ -~\u0080-\u00ff]/.test(text),
    ),
  );
  const b64token = fc.stringMatching(/^[A-Za-z0-9._~+/-]{1,80}={0,2}$/);

  /** The valid token, others of the same shape, damaged copies of it, and other texts. */
  const credentials = (live: string, others: string[]): fc.Arbitrary<string> =>
    fc.oneof(
      { weight: 3, arbitrary: fc.constant(live) },
      { weight: 2, arbitrary: fc.constantFrom(...others) },
      { weight: 6, arbitrary: spliced(live, characters) },
      cut(live),
      fc.mixedCase(fc.constant(live)),
      fc.nat(4).map((padding) => live + '='.repeat(padding)),
      fc.nat(live.length - 1).map((at) => live.replace(live[at]!, `%${live.charCodeAt(at).toString(16)}`)),
      fc.integer({ min: 2, max: 60 }).map((times) => live.repeat(times)),
      b64token,
      fc.string({ unit: characters, maxLength: 4000, size: 'max' }),
    );

  function headerLines(live: string, others: string[]): fc.Arbitrary<[name: string, value: string][]> {
    const bearerScheme = fc.mixedCase(fc.constant('Bearer'));
    const scheme = fc.oneof(
      { weight: 6, arbitrary: bearerScheme },
      { weight: 1, arbitrary: fc.constantFrom('', 'Basic', 'Digest', 'Token', 'Negotiate', 'DPoP', live) },
      { weight: 1, arbitrary: bearerScheme.chain((text) => spliced(text, characters)) },
    );
    const separator = fc.oneof(
      { weight: 4, arbitrary: fc.constant(' ') },
      fc.string({ unit: fc.constantFrom(' ', ' ', '\t'), maxLength: 4 }),
    );
    const around = fc.string({ unit: fc.constantFrom(' ', '\t'), maxLength: 2 });
    const value = fc.oneof(
      {
        weight: 8,
        arbitrary: fc
          .tuple(around, scheme, separator, credentials(live, others), around)
          .map((parts) => parts.join('')),
      },
      fc.string({ unit: characters }),
    );
    const line = fc.tuple(fc.mixedCase(fc.constant('Authorization')), value);
    return fc.oneof(
      { weight: 9, arbitrary: fc.array(line, { minLength: 1, maxLength: 1 }) },
      fc.array(line, { maxLength: 3 }),
    );
  }

  /** RFC 9110 §5.5: white space around a value is not part of it. */
  const trimmed = (value: string) => value.replaceAll(/^[ \t]+|[ \t]+$/g, '');

  /** RFC 6750 §2.1: returns the presented token, or null if there is none. */
  function presentedIn(value: string): string | null {
    const found = /^bearer(?: +(.*))?$/i.exec(trimmed(value));
    return found && (found[1] ?? '');
  }

  type Refusal = keyof typeof REFUSALS;
  const REFUSALS = {
    token_missing: { status: 401, message: 'Authentication credentials were not provided', error: undefined },
    token_invalid: { status: 401, message: 'Invalid token', error: 'invalid_token' },
    request_invalid: { status: 400, message: 'More than one Authorization header', error: 'invalid_request' },
  };
  const LINES: Record<Refusal, [string, string][]> = {
    token_missing: [],
    token_invalid: [['Authorization', 'Bearer x']],
    request_invalid: [
      ['Authorization', 'Bearer x'],
      ['Authorization', 'Bearer y'],
    ],
  };

  onEveryEnvironment(
    (environment) => {
      const target = useTarget(environment);

      it('in the Authorization header: only the valid one passes, a rejection quotes nothing, and a malformed one costs no statement', async () => {
        const { app, user, token } = target();
        const other = await app.createUser();
        const { refresh } = await app.tokens.logIn(other.id);
        const own = await app.tokens.issue(user.id);
        // A token of no row, one of an existing row with another secret, and a refresh token
        const others = [
          generateToken('ext_', uuidV7(app.clock.now)),
          generateToken('ext_', own.token.id),
          refresh!.plainText,
        ];

        const answers = new Map<Refusal, object>();
        for (const [code, { status, message, error }] of Object.entries(REFUSALS)) {
          const answer = await target().send('/me', { headers: LINES[code as Refusal] });
          const reason = status === 401 ? 'Unauthorized' : 'Bad Request';
          expect(answer.status).toBe(status);
          expect(answer.json).toEqual({ statusCode: status, error: reason, message, code });
          const challenge = CHALLENGE.exec(answer.headers['www-authenticate']!)?.groups;
          expect(challenge).toEqual({ error, description: error && message });
          answers.set(code as Refusal, comparable(answer));
        }

        const property = fc.asyncProperty(headerLines(token, others), async (headers) => {
          const presented = headers.length > 1 ? null : presentedIn(headers[0]?.[1] ?? '');
          const passes = presented === token;
          const code = headers.length > 1 ? 'request_invalid' : presented === null ? 'token_missing' : 'token_invalid';
          const isAsked = passes || others.includes(presented!);

          const [me, optional, passport] = [
            await target().send('/me', { headers }),
            await target().send('/optional', { headers }),
            await target().send('/passport', { headers }),
          ];
          for (const { statements } of [me, optional, passport]) expect(statements > 0).toBe(isAsked);
          expect(passport.status).toBe(passes ? 200 : REFUSALS[code].status);
          if (passes) {
            expect(me).toMatchObject({ status: 200, json: { user: { id: user.id } } });
            expect(optional).toMatchObject({ status: 200, json: { id: user.id } });
          } else {
            expect(comparable(me)).toEqual(answers.get(code));
            if (code === 'token_missing') expect(optional).toMatchObject({ status: 200, json: { id: null } });
            else expect(comparable(optional)).toEqual(answers.get(code));
          }
        });
        await fc.assert(property, { numRuns: runs(300) });
      });

      it('in place of a refresh token: only the valid one is exchanged, a rejection quotes nothing and changes nothing', async () => {
        const { app, user, token } = target();
        const { refresh } = await app.tokens.logIn(user.id);
        const live = refresh!.plainText;
        const others = [token, generateToken('ext_', uuidV7(app.clock.now)), generateToken('ext_', refresh!.token.id)];
        const present = (where: string, value: string) =>
          target().send('/auth/refresh', {
            method: 'POST',
            ...(where === 'header' ? { headers: [['Refresh-Token', value]] } : { body: { refreshToken: value } }),
          });
        const invalid = comparable(await present('body', 'x'));
        const before = await app.dump();
        const places = fc.constantFrom('header', 'body');
        const property = fc.asyncProperty(places, credentials(live, others), async (where, value) => {
          const presented = where === 'header' ? trimmed(value) : value;
          fc.pre(presented !== live);
          const answer = await present(where, value);
          expect(comparable(answer)).toEqual(invalid);
          expect(answer.statements > 0).toBe(others.includes(presented));
        });
        await fc.assert(property, { numRuns: runs(300) });
        expect(await app.dump()).toEqual(before);
        expect(invalid).toMatchObject({ status: 401, text: expect.stringContaining('"code":"refresh_invalid"') });
        expect(await present('header', live)).toMatchObject({ status: 200 });
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('Any request body', () => {
  /** Characters that no answer contains, some of them lone surrogates: an answer that is all ASCII has quoted nothing. */
  const unit = fc.integer({ min: 0x80, max: 0xffff }).map((code) => String.fromCharCode(code));
  const QUOTES_NOTHING = /^(?!.*\\u)[ -~]*$/;

  const strings = fc.oneof(
    { weight: 3, arbitrary: fc.string({ unit, minLength: 1 }) },
    fc.constantFrom('', '\0', '\ud800', '\u00e9\0', '\u00e9'.repeat(512), '\u00e9'.repeat(513), ' ', '\u2028'),
  );
  const values = fc.oneof(
    { weight: 2, arbitrary: fc.jsonValue({ stringUnit: unit, maxDepth: 3 }) },
    { weight: 4, arbitrary: strings },
    fc.constantFrom(
      { $ne: null },
      { $gt: '' },
      [],
      {},
      null,
      true,
      0,
      ['\u00e9'],
      { length: 1 },
      { toString: '\u00e9' },
    ),
  );

  /** JSON of objects that have these fields, some of them twice, and other fields. */
  function objectTexts(fields: string[]): fc.Arbitrary<string> {
    const names = fc.oneof(
      { weight: 12, arbitrary: fc.constantFrom(...fields) },
      fc.constantFrom('__proto__', 'constructor', 'toString', 'USERNAME', 'isAdmin'),
      fc.string({ unit }),
    );
    const members = fc.tuple(names, values).map((member) => member.map((part) => JSON.stringify(part)).join(':'));
    return fc.array(members, { maxLength: 6 }).map((all) => `{${all.join()}}`);
  }

  const texts = (fields: string[]): fc.Arbitrary<string> =>
    fc.oneof(
      { weight: 6, arbitrary: objectTexts(fields) },
      { weight: 1, arbitrary: fc.json({ stringUnit: unit }) },
      {
        weight: 1,
        arbitrary: fc.tuple(objectTexts(fields), fc.nat()).map(([text, at]) => text.slice(0, 1 + (at % text.length))),
      },
    );

  const nested = (levels: number, open: string, close: string) => open.repeat(levels) + close.repeat(levels);
  const DEEPEST = nested(40_000, '[', ']');
  const examplesOf = ([field]: string[]): [string][] => [
    [DEEPEST],
    [nested(12_000, '{"\u00e9":', '}').replace(':}', ':0}')],
    [nested(40_000, '{"\u00e9":', '}').replace(':}', ':0}')],
    [`{"${field}":${DEEPEST}}`],
    [`{"${field}":${JSON.stringify('\u00e9'.repeat(40_000))}}`],
    [`{"${field}":${JSON.stringify('\u00e9'.repeat(500_000))},"password":"\u00e9"}`],
    [`{"username":"\u00e9","password":${JSON.stringify('\u00e9'.repeat(500_000))}}`],
    [`{"username":"\u00e9","password":${JSON.stringify('\u00e9'.repeat(1_000_000))}}`],
    [`{"constructor":{"prototype":{"isAdmin":true}}}`],
    [`{"__proto__":{"${field}":"\u00e9"}}`],
  ];

  /** The longest body in bytes that each framework reads by default. */
  const LIMITS = { express: 100 * 1024, fastify: 1024 * 1024 };
  const VALIDATION_FAILED = { status: 400, code: 'validation_failed' };
  const OWN_REFUSAL = { status: 400, code: undefined };

  interface Route {
    method: string;
    path: (own: { deviceId: string }) => string;
    fields: string[];
    isGuarded?: true;
    /** The answer to a body whose fields are right. */
    accepts: { status: number; code?: string };
    isRight: (body: Record<string, unknown>) => boolean;
  }

  const isString = (value: unknown) => typeof value === 'string';
  const isCredential = (value: unknown) =>
    typeof value === 'string' && value !== '' && value.isWellFormed() && Buffer.byteLength(value) <= 1024;
  const login = {
    method: 'POST',
    fields: ['username', 'password', 'deviceName'],
    accepts: { status: 401, code: 'credentials_invalid' },
    isRight: ({ username, password, deviceName = null }: Record<string, unknown>) =>
      isCredential(username) && isCredential(password) && (deviceName === null || isString(deviceName)),
  };
  const ROUTES: Route[] = [
    { ...login, path: () => '/auth/login' },
    { ...login, path: () => '/auth/obtain-token' },
    {
      method: 'POST',
      path: () => '/auth/refresh',
      fields: ['refreshToken'],
      accepts: { status: 401, code: 'refresh_invalid' },
      isRight: ({ refreshToken = '' }) => isString(refreshToken),
    },
    {
      method: 'POST',
      path: () => '/auth/logout-all',
      fields: ['keepCurrent'],
      isGuarded: true,
      accepts: { status: 200 },
      isRight: ({ keepCurrent }) =>
        keepCurrent === undefined || keepCurrent === null || typeof keepCurrent === 'boolean',
    },
    {
      method: 'PATCH',
      path: ({ deviceId }) => `/auth/devices/${deviceId}`,
      fields: ['name'],
      isGuarded: true,
      accepts: { status: 200 },
      isRight: ({ name }) => typeof name === 'string' && /[^\p{Cc}\s\u202a-\u202e\u2066-\u2069]/u.test(name),
    },
  ];

  /** Returns the expected answer to a body, by its length, the framework that parses it, and its shape. */
  function verdict(text: string, { accepts, isRight }: Route, { adapterName }: TestEnvironment) {
    if (Buffer.byteLength(text) > LIMITS[adapterName]) return { status: 413, code: undefined };
    let body: unknown;
    try {
      body = JSON.parse(text);
    } catch {
      return adapterName === 'express' ? VALIDATION_FAILED : OWN_REFUSAL;
    }
    // Fastify rejects keys that could pollute prototypes.
    if (adapterName === 'fastify' && /"__proto__":|"constructor":{"prototype":/.test(text)) return OWN_REFUSAL;
    if (typeof body !== 'object' || body === null || Array.isArray(body)) return VALIDATION_FAILED;
    return isRight(body as Record<string, unknown>) ? accepts : VALIDATION_FAILED;
  }

  onEveryEnvironment(
    (environment) => {
      const target = useTarget(environment);

      it.each(ROUTES.map((route) => [`${route.method} ${route.path({ deviceId: ':id' })}`, route] as const))(
        'of %s is answered by its shape, never quoted, and not written',
        async (_, route) => {
          const { app } = target();
          const property = fc.asyncProperty(texts(route.fields), async (text) => {
            const expected = verdict(text, route, environment);
            const before = await app.dump();
            const { status, json, headers, statements, logged, ...answer } = await target().send(route.path(target()), {
              method: route.method,
              headers: [['Content-Type', 'application/json'], ...bearer(target().token)],
              rawBody: text,
            });
            expect({ status, code: json.code }).toEqual({ code: undefined, ...expected });
            if (!route.isGuarded && expected.code !== 'credentials_invalid') expect(statements).toBe(0);
            if (status === 200) {
              if (route.path(target()) === '/auth/logout-all') await target().renewToken();
              return;
            }
            expect(json).toMatchObject({ statusCode: status, message: expect.any(String) });
            expect(answer.text).toMatch(QUOTES_NOTHING);
            expect(JSON.stringify(headers)).toMatch(QUOTES_NOTHING);
            expect(logged.replaceAll('\n', ' ')).toMatch(QUOTES_NOTHING);
            expect(await app.dump()).toEqual(before);
          });
          await fc.assert(property, { numRuns: runs(100), examples: examplesOf(route.fields) });
          expect(({} as { isAdmin?: true }).isAdmin).toBeUndefined();
        },
      );

      it('is read as application/json only, with any bytes and any declared encoding', async () => {
        const { app, user } = target();
        const credentials = { username: user.username, password: PASSWORD };
        const right = JSON.stringify(credentials);
        const form = Buffer.from(new URLSearchParams(credentials).toString());
        const bodies = fc.oneof(
          { weight: 2, arbitrary: fc.constant(Buffer.from(right)) },
          fc.constantFrom(Buffer.from(right, 'utf16le'), Buffer.from(right).toReversed(), form),
          fc.uint8Array({ minLength: 1, maxLength: 200 }),
        );
        const json = fc.mixedCase(fc.constant('application/json'));
        const charset = fc.constantFrom(
          'utf-8',
          'UTF8',
          'latin1',
          'utf-16',
          'utf-16le',
          'utf-7',
          'utf-32',
          'x',
          '"',
          '',
        );
        const types = fc.oneof(
          { weight: 2, arbitrary: fc.tuple(json, charset).map(([type, name]) => `${type}; charset=${name}`) },
          {
            weight: 3,
            arbitrary: json.chain((type) => spliced(type, fc.constantFrom(...' /+;,*=aJ\u00e9'.split('')))),
          },
          {
            weight: 4,
            arbitrary: fc.constantFrom(
              'text/plain',
              'text/json',
              'application/x-www-form-urlencoded',
              'multipart/form-data; boundary=x',
              'application/vnd.api+json',
              'application/*',
              '*/*',
              '',
            ),
          },
        );
        const encodings = fc.option(fc.constantFrom('identity', 'gzip', 'deflate', 'br', 'zstd', 'x', ''), { freq: 3 });
        const property = fc.asyncProperty(types, encodings, bodies, async (type, encoding, bytes) => {
          const before = await app.dump();
          const { status, text, ...answer } = await target().send('/auth/login', {
            method: 'POST',
            headers: [['Content-Type', type], ...(encoding === null ? [] : [['Content-Encoding', encoding] as const])],
            rawBody: Buffer.from(bytes),
          });
          const isJson = type.split(';', 1)[0]!.trim().toLowerCase() === 'application/json';
          if (status === 200) {
            const decoded = ['utf8', 'utf16le'].map((name) => Buffer.from(bytes).toString(name as BufferEncoding));
            expect([isJson, decoded]).toEqual([true, expect.arrayContaining([right])]);
            return;
          }
          expect(isJson ? [400, 401, 413, 415] : [400, 415]).toContain(status);
          expect(answer.json).toMatchObject({ statusCode: status, message: expect.any(String) });
          for (const secret of [PASSWORD, user.username]) expect(text + answer.logged).not.toContain(secret);
          expect(await app.dump()).toEqual(before);
        });
        await fc.assert(property, {
          numRuns: runs(150),
          examples: [['application/x-www-form-urlencoded', null, form]],
        });
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('Any text in place of the id of a device', () => {
  const CANONICAL = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;
  const LONGEST_PARAMETER = 100;

  /** Returns the id that a router reads from the rest of a path, or null if no route matches or the encoding is invalid. */
  function idIn(rest: string, { adapterName }: TestEnvironment): string | null {
    let [segment = ''] = rest.split(/[?#]/, 1);
    if (adapterName === 'express') {
      // With a fragment, which no client sends, Express reads backslashes as slashes.
      if (rest.includes('#')) segment = segment.replaceAll('\\', '/');
      segment = segment.replace(/\/$/, '');
    }
    if (segment === '' && adapterName === 'fastify' && HAS_EMPTY_PARAMETERS) return '';
    if (segment === '' || segment.includes('/')) return null;
    try {
      const id = decodeURIComponent(segment);
      return adapterName === 'fastify' && id.length > LONGEST_PARAMETER ? null : id;
    } catch {
      return null;
    }
  }

  /** Rests of paths: encoded, encoded more than necessary, and such as no client writes. */
  function segments(known: string[]): fc.Arbitrary<string> {
    const character = fc.string({ unit: 'binary', minLength: 1, maxLength: 1 });
    const uuids = fc.oneof(fc.constantFrom(...known), fc.uuid());
    const spellings = uuids.chain((id) =>
      fc.oneof(
        fc.mixedCase(fc.constant(id)),
        spliced(id, fc.oneof(character, fc.constantFrom(...'0af-_%*\'" \t\n\0\u00a0\u200b\uff10'.split('')))),
        cut(id),
        fc.constantFrom(
          id,
          id.toUpperCase(),
          id.replaceAll('-', ''),
          `{${id}}`,
          `urn:uuid:${id}`,
          `${id}${id}`,
          `${id},${id}`,
        ),
        fc.integer({ min: 0, max: 15 }).map((version) => id.slice(0, 14) + version.toString(16) + id.slice(15)),
      ),
    );
    const texts = fc.oneof(
      { weight: 3, arbitrary: spellings },
      fc.string({ unit: 'binary' }),
      fc.string({ unit: 'binary', minLength: 90, maxLength: 400, size: 'max' }),
    );
    const everyByte = (text: string) =>
      [...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    const urlCharacter = fc.integer({ min: 0x21, max: 0x7e }).map((code) => String.fromCharCode(code));
    return fc.oneof(
      { weight: 4, arbitrary: texts.map(encodeURIComponent) },
      texts.map(everyByte),
      texts.map((text) => encodeURIComponent(encodeURIComponent(text))),
      fc.string({ unit: fc.oneof(urlCharacter, fc.constantFrom(...'%/?#.;'.split(''))), maxLength: 20 }),
    );
  }

  onEveryEnvironment((environment) => {
    const target = useTarget(environment);

    it('gets the same answer unless it is a device of the user, and only a canonical UUID is queried', async () => {
      const { app, user, token } = target();
      const stranger = await app.tokens.issue((await app.createUser()).id);
      const own = await app.tokens.issue(user.id);
      const [ownId, strangerId] = [own.token.deviceId, stranger.token.deviceId];
      const ask = (method: string, rest: string) =>
        target().send(`/auth/devices/${rest}`, {
          method,
          headers: bearer(token),
          body: method === 'PATCH' ? { name: 'x' } : undefined,
        });
      const { statements: toAuthenticate } = await target().send('/auth/token', { headers: bearer(token) });
      const notFound = new Map<string, object>();
      for (const method of ['PATCH', 'DELETE']) {
        const answer = await ask(method, strangerId);
        expect(answer).toMatchObject({ status: 404, json: { code: 'device_not_found' } });
        notFound.set(method, comparable(answer));
      }

      const before = await app.dump();
      const rests = segments([ownId, strangerId, target().deviceId]);
      const property = fc.asyncProperty(fc.constantFrom('PATCH', 'DELETE'), rests, async (method, rest) => {
        const id = idIn(rest, environment);
        fc.pre(id !== ownId && id !== target().deviceId);
        const answer = await ask(method, rest);
        if (id === null) {
          expect([400, 404, 414]).toContain(answer.status);
          expect(answer.json.code).not.toBe('device_not_found');
          expect(answer.statements).toBe(0);
        } else {
          expect(comparable(answer)).toEqual(notFound.get(method));
          if (CANONICAL.test(id)) expect(answer.statements).toBeGreaterThan(toAuthenticate);
          else expect(answer.statements).toBe(toAuthenticate);
        }
      });
      await fc.assert(property, { numRuns: runs(150) });
      expect(await app.dump()).toEqual(before);
    });

    it('a name of a device is stored without control characters and cut at 255 code points', async () => {
      const { deviceId, token } = target();
      const characters = fc.oneof(
        { weight: 4, arbitrary: fc.string({ unit: 'binary' }) },
        fc.string({ unit: 'grapheme', minLength: 200, maxLength: 300, size: 'max' }),
      );
      const visible = characters.map((text) => text.replaceAll(/[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]/gu, ''));
      const control = fc.constantFrom('', '\0', '\u0007', '\r\n', '\u007f', '\u0085', '\u2028', '\u202e', '\u2066');
      const pieces = fc.array(fc.tuple(visible, control), { minLength: 1, maxLength: 4 });
      const property = fc.asyncProperty(pieces, async (parts) => {
        const expected = [...parts.map(([text]) => text).join('')].slice(0, 255).join('');
        const { status, json } = await target().send(`/auth/devices/${deviceId}`, {
          method: 'PATCH',
          headers: bearer(token),
          body: { name: parts.flat().join('') },
        });
        if (expected.trim() === '') {
          expect([status, json.code]).toEqual([400, 'validation_failed']);
        } else {
          expect([status, json.name]).toEqual([200, expected]);
          const { json: current } = await target().send('/auth/token', { headers: bearer(token) });
          expect(current.name).toBe(expected);
        }
      });
      await fc.assert(property, { numRuns: runs(40) });
    });
  });
});
