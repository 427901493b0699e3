import { Controller, Get, Post, VERSION_NEUTRAL, type VersioningOptions, VersioningType } from '@nestjs/common';
import { RouterModule } from '@nestjs/core';
import { ExpiringTokenModule } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { type BootOptions, warnings, onEveryEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';
import { type Answer, bearer, rawRequest, type RequestOptions } from './fixtures/http.js';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE'];

/** The methods that each path of the module accepts. */
const ROUTES: [path: string, methods: string[]][] = [
  ['/auth/login', ['POST']],
  ['/auth/obtain-token', ['POST']],
  ['/auth/token', ['GET', 'HEAD']],
  ['/auth/refresh', ['POST']],
  ['/auth/logout', ['POST']],
  ['/auth/logout-all', ['POST']],
  ['/auth/devices', ['GET', 'HEAD']],
  ['/auth/devices/01b8e094-9b2e-7000-8000-000000000000', ['PATCH', 'DELETE']],
];

const NO_STORE = { 'cache-control': 'no-store', pragma: 'no-cache' };
const ORIGIN = ['Origin', 'https://evil.example'] as const;

describe('The routes of the module', () => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      let username: string;
      let token: string;
      let refreshToken: string;
      beforeAll(async () => {
        app = await environment.boot({ options: { refresh: {} } });
        ({ username } = await app.createUser());
        ({ token, refreshToken } = (await app.login(username)).json);
      });

      const others = ROUTES.flatMap(([path, taken]) =>
        METHODS.filter((method) => !taken.includes(method)).map((method) => [method, path] as const),
      );

      it.each(others)('do not accept %s %s', async (method, path) => {
        const before = await app.countTokens();
        const { status, text } = await app.send(path, { method, headers: bearer(token) });
        expect([404, 405]).toContain(status);
        expect(text).not.toContain(token);
        expect(await app.countTokens()).toBe(before);
      });

      /** One response of each kind that a route can give. */
      async function everyAnswer(headers: RequestOptions['headers']): Promise<Answer[]> {
        const credentials = { username, password: PASSWORD };
        const own = [...headers!, ...bearer(token)];
        const answers: Answer[] = [];
        for (const [path, methods] of ROUTES) {
          for (const method of methods) {
            answers.push(await app.send(path, { method, headers }), await app.send(path, { method, headers: own }));
            if (method === 'POST') answers.push(await app.send(path, { method, headers, body: credentials }));
          }
          ({ token, refreshToken } = (await app.login(username)).json);
          own.splice(-1, 1, ...bearer(token));
        }
        answers.push(await app.send('/auth/refresh', { method: 'POST', headers, body: { refreshToken } }));
        const { deviceId } = (await app.get('/auth/token', token)).json;
        const renaming = { method: 'PATCH', headers: own, body: { name: 'x' } };
        answers.push(await app.send(`/auth/devices/${deviceId}`, renaming));
        const reading = vi.spyOn(app.nest.get<Database>(DATABASE), 'read').mockRejectedValue(new Error('gone'));
        answers.push(await app.send('/auth/token', { headers: own }));
        answers.push(await app.send('/auth/login', { method: 'POST', headers, body: credentials }));
        reading.mockRestore();
        expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 204, 400, 401, 404, 503]));
        return answers;
      }

      it('allow no page of another origin to read a response, and answer no preflight request', async () => {
        const answers = await everyAnswer([ORIGIN]);
        for (const [path, methods] of ROUTES) {
          const requestedMethod = ['Access-Control-Request-Method', methods.at(-1)!] as const;
          answers.push(await app.send(path, { method: 'OPTIONS', headers: [ORIGIN, requestedMethod] }));
        }
        const allowed = answers
          .flatMap(({ headers }) => Object.keys(headers))
          .filter((name) => name.startsWith('access-'));
        expect(allowed).toEqual([]);
      });

      it('declare each body as JSON in UTF-8', async () => {
        const types = (await everyAnswer([]))
          .filter(({ text }) => text !== '')
          .map(({ headers }) => headers['content-type']);
        expect(new Set(types)).toEqual(new Set(['application/json; charset=utf-8']));
      });

      it('forbid caching of tokens, devices and every response to credentials', async () => {
        const { deviceId } = (await app.get('/auth/token', token)).json;
        const post = (path: string, body: object) => app.post(path, body);
        const answers = [
          await app.get('/auth/token', token),
          await app.get('/auth/devices', token),
          await app.send(`/auth/devices/${deviceId}`, { method: 'PATCH', headers: bearer(token), body: { name: 'x' } }),
          await app.login(username),
          await app.login(username, 'wrong'),
          await post('/auth/login', {}),
          await post('/auth/obtain-token', { username, password: PASSWORD }),
          await post('/auth/obtain-token', {}),
          await post('/auth/refresh', { refreshToken: 'nonsense' }),
          await post('/auth/refresh', { refreshToken: 7 }),
          await post('/auth/refresh', { refreshToken }),
        ];
        const reading = vi.spyOn(app.nest.get<Database>(DATABASE), 'read').mockRejectedValue(new Error('gone'));
        answers.push(await app.login(username), await post('/auth/refresh', { refreshToken }));
        reading.mockRestore();
        expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 400, 401, 503]));
        for (const [index, { headers }] of answers.entries())
          expect(headers, `answer ${index}`).toMatchObject(NO_STORE);
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('A body that is not JSON', () => {
  const WITH_BODY = ROUTES.flatMap(([path, methods]) =>
    methods.filter((method) => ['POST', 'PATCH'].includes(method)).map((method) => [method, path] as const),
  );
  const VERSIONS = [
    { version: 'without a version', prefix: '', versioning: undefined },
    {
      version: 'of a version in the path',
      prefix: '/v1',
      versioning: { type: VersioningType.URI, defaultVersion: '1' } as const,
    },
  ];

  describe.each(VERSIONS)('on a route $version', ({ prefix, versioning }) => {
    onEveryEnvironment(
      (environment) => {
        let app: TestApp;
        let token: string;
        beforeAll(async () => {
          app = await environment.boot({ options: { refresh: {} }, versioning });
          token = await app.token();
        });

        it.each([...WITH_BODY, ['PATCH', '/auth/devices/x'] as const])(
          'is rejected at %s %s, and is neither quoted nor logged',
          async (method, path) => {
            const before = warnings.length;
            for (const rawBody of [
              'hunter2SuperSecret',
              '{"name":"hunter2SuperSecret"',
              '{"name":hunter2SuperSecret}',
            ]) {
              const headers = [['Content-Type', 'application/json'] as const, ...bearer(token)];
              const { status, text } = await app.send(prefix + path, { method, headers, rawBody });
              expect(status, rawBody).toBe(400);
              for (const output of [text, ...warnings.slice(before)])
                expect(output, rawBody).not.toMatch(/hunter2|SuperSecret/);
            }
          },
        );
      },
      { databases: ['sqlite'] },
    );
  });
});

describe('The path of the routes', () => {
  const routerModule = () => RouterModule.register([{ path: 'v1', module: ExpiringTokenModule }]);
  const ofPackage = () => ExpiringTokenModule.forRoot({ prune: false, loginThrottle: false });
  const VERSION = ['X-Version', '2'] as const;
  const versioned = (options: VersioningOptions): BootOptions => ({ versioning: { defaultVersion: '2', ...options } });
  const HEADER = versioned({ type: VersioningType.HEADER, header: VERSION[0] });
  const MEDIA_TYPE = versioned({ type: VersioningType.MEDIA_TYPE, key: 'v=' });
  const PLACES: [place: string, prefix: string, boot: () => BootOptions, headers?: RequestOptions['headers']][] = [
    ['a RouterModule behind the package', '/v1/auth', () => ({ module: [ofPackage(), routerModule()] })],
    ['a RouterModule before the package', '/v1/auth', () => ({ module: [routerModule(), ofPackage()] })],
    ['a RouterModule and a global prefix', '/api/v1/auth', () => ({ imports: [routerModule()], globalPrefix: 'api' })],
    ['an empty path', '', () => ({ options: { path: '' } })],
    ['a path of several segments', '/a/b.c', () => ({ options: { path: '/a//b.c/' } })],
    ['a version in the path', '/v2/auth', () => versioned({ type: VersioningType.URI })],
    ['a version in a header', '/auth', () => HEADER, [VERSION]],
    ['a version in the media type', '/auth', () => MEDIA_TYPE, [['Accept', 'application/json;v=2']]],
    ['versions of other routes', '/auth', () => ({ versioning: { type: VersioningType.URI } })],
    [
      'neutral versions',
      '/auth',
      () => ({ versioning: { type: VersioningType.URI, defaultVersion: VERSION_NEUTRAL } }),
    ],
    [
      'a global prefix that excludes the login',
      '/auth',
      () => ({ configure: (nest) => void nest.setGlobalPrefix('api', { exclude: ['auth/login', 'auth/token'] }) }),
    ],
  ];

  /** A route of the application, whose errors belong to the application. */
  @Controller({ path: 'hooks', version: VERSION_NEUTRAL })
  class HooksController {
    @Post()
    receive() {
      return {};
    }
  }

  const JSON_TYPE = ['Content-Type', 'application/json'] as const;
  const rawBody = '"my secret password';

  onEveryEnvironment(
    (environment) => {
      describe.each(PLACES)('below %s', (_, prefix, boot, headers = []) => {
        let app: TestApp;
        beforeAll(async () => {
          app = await environment.boot({ ...boot(), controllers: [HooksController] });
        });

        it(`begins with ${prefix || '/'}`, async () => {
          const { username } = await app.createUser();
          const body = { username, password: PASSWORD };
          const { status, json } = await app.send(`${prefix}/login`, { method: 'POST', headers, body });
          expect(status).toBe(200);
          const own = [...headers, ...bearer(json.token)];
          expect((await app.send(`${prefix}/token`, { headers: own })).json).toMatchObject({ deviceId: json.deviceId });
        });

        it('quotes no body that is not JSON, and logs none', async () => {
          const before = warnings.length;
          const paths = [
            '/login',
            '/auth/login',
            '/v1/login',
            '/v1/auth/login',
            `${prefix}/login`,
            `${prefix}/login?x=%`,
          ];
          for (const path of paths) {
            const answer = await app.send(path, { method: 'POST', headers: [...headers, JSON_TYPE], rawBody });
            expect([400, 404], path).toContain(answer.status);
            for (const output of [answer.text, ...warnings.slice(before)])
              expect(output, path).not.toMatch(/secret|"my/);
          }
        });
      });

      it("leaves the application's own errors as they are", async () => {
        const app = await environment.boot({ controllers: [HooksController], options: { path: '' } });
        const { status, json } = await app.send('/hooks', { method: 'POST', headers: [JSON_TYPE], rawBody });
        expect(status).toBe(400);
        expect(json.code).not.toBe('validation_failed');
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('Another spelling of the path of a guarded route', () => {
  const SECRET = 'for authenticated users only';

  @Controller()
  class ClosedController {
    @Get('closed')
    closed() {
      return { secret: SECRET };
    }
  }

  const spellings = (path: string) => [
    path,
    path.toUpperCase(),
    `${path}/`,
    `/${path}`,
    `/.${path}`,
    `/x/..${path}`,
    path.replace(/.(?=.$)/, (character) => `%${character.charCodeAt(0).toString(16)}`),
    `${path}%2f`,
    `${path};x`,
    `${path}?access_token`,
    `http://127.0.0.1${path}`,
    `http://other.example${path}`,
  ];

  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      let token: string;
      beforeAll(async () => {
        app = await environment.boot({ options: { globalGuard: true }, controllers: [ClosedController] });
        token = await app.token((await app.createUser()).id);
      });

      const ask = (method: string, target: string, headers = '') =>
        rawRequest(app.origin, `${method} ${target} HTTP/1.1\r\nHost: x\r\n${headers}Connection: close\r\n\r\n`);

      it.each(['/closed', '/auth/devices', '/auth/token'].flatMap(spellings))(
        'does not bypass the guard: %s',
        async (target) => {
          for (const headers of ['', 'X-HTTP-Method-Override: HEAD\r\n', 'X-Original-URL: /public\r\n']) {
            for (const method of ['GET', 'HEAD']) {
              const { status, text } = await ask(method, target, headers);
              expect([400, 401, 404], `${headers}, ${method}`).toContain(status);
              expect(text, `${headers}, ${method}`).not.toContain(SECRET);
            }
          }
        },
      );

      it('does not change that the path itself is open with a token', async () => {
        const closed = await ask('GET', '/closed', `Authorization: Bearer ${token}\r\n`);
        expect(closed.text).toContain(SECRET);
      });
    },
    { databases: ['sqlite'] },
  );
});
