import { Controller, Delete, Get, HttpCode, Param, Post, UseGuards } from '@nestjs/common';
import { ApiOkResponse, ApiProperty, ApiSecurity, ApiUnauthorizedResponse, SwaggerModule } from '@nestjs/swagger';
import {
  ApiExpiringToken,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  OptionalToken,
  Public,
  RequireAnyScope,
  RequireScopes,
} from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { onEveryEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';
import { ApiDocument } from './fixtures/api-document.js';
import { bearer } from './fixtures/http.js';

const MINUTE_MS = 60_000;

/** Options that change the requests and responses of the routes. */
const FULL: ExpiringTokenModuleOptions = {
  lifespan: '1m',
  refresh: { header: 'X-Renewal' },
  limit: { perUser: 3, policy: 'reject' },
  loginThrottle: { limit: 1 },
  usernameField: 'email',
  passwordField: 'pass-phrase',
  expiredStatus: 400,
  realm: 'shop',
};

const BEARER = { bearer: [] };

describe('The OpenAPI document', () => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      let plain: TestApp;
      let document: ApiDocument;
      let plainDocument: ApiDocument;
      beforeAll(async () => {
        app = await environment.boot({ options: FULL });
        document = await ApiDocument.of(app);
        plain = await environment.boot();
        plainDocument = await ApiDocument.of(plain);
      });

      it('lists every route with all its status codes, as the options set them', async () => {
        expect(document.statuses).toEqual({
          'post /auth/login': '200 400 401 403 429 503',
          'post /auth/obtain-token': '200 400 401 403 429 503',
          'get /auth/token': '200 400 401 503',
          'post /auth/refresh': '200 400 401 429 503',
          'post /auth/logout': '204 400 401 429 503',
          'post /auth/logout-all': '200 400 401 429 503',
          'get /auth/devices': '200 400 401 503',
          'patch /auth/devices/{id}': '200 400 401 404 429 503',
          'delete /auth/devices/{id}': '204 400 401 404 429 503',
        });
        expect(plainDocument.statuses).toEqual({
          'post /auth/login': '200 400 401 503',
          'post /auth/obtain-token': '200 400 401 503',
          'get /auth/token': '200 400 401 503',
          'post /auth/logout': '204 400 401 429 503',
          'post /auth/logout-all': '200 400 401 429 503',
          'get /auth/devices': '200 400 401 503',
          'patch /auth/devices/{id}': '200 400 401 404 429 503',
          'delete /auth/devices/{id}': '204 400 401 404 429 503',
        });
        for (const [name, json, codes] of [
          ['with expiredStatus 400', document, ['request_invalid', 'token_expired']],
          ['with the default status', plainDocument, ['request_invalid']],
        ] as const) {
          const { examples } = json.operation('get', '/auth/token').responses['400']!.content!['application/json']!;
          expect(Object.keys(examples!).toSorted(), name).toEqual(codes);
        }
      });

      it('lists the bearer scheme and the routes that need it', () => {
        expect(document.json.components!.securitySchemes).toEqual({
          bearer: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT' },
        });
        for (const open of ['login', 'obtain-token', 'refresh']) {
          expect(document.operation('post', `/auth/${open}`).security, open).toEqual([{}]);
        }
        for (const guarded of ['logout', 'logout-all']) {
          expect(document.operation('post', `/auth/${guarded}`).security, guarded).toEqual([BEARER]);
        }
        expect(document.operation('get', '/auth/token').security).toEqual([BEARER]);
        expect(document.operation('get', '/auth/devices').security).toEqual([BEARER]);
        expect(document.operation('patch', '/auth/devices/{id}').security).toEqual([BEARER]);
        expect(document.operation('delete', '/auth/devices/{id}').security).toEqual([BEARER]);
      });

      it('lists the bodies and headers that the routes read', () => {
        const credentials = { email: 'ann', 'pass-phrase': PASSWORD };
        for (const route of ['/auth/login', '/auth/obtain-token']) {
          expect(document.acceptsBody('post', route, { ...credentials, deviceName: 'Laptop' }), route).toBe(true);
          expect(document.acceptsBody('post', route, credentials), route).toBe(true);
          expect(document.acceptsBody('post', route, { email: 'ann' }), route).toBe(false);
          expect(document.acceptsBody('post', route, { username: 'ann', password: PASSWORD }), route).toBe(false);
          expect(document.operation('post', route).requestBody!.required, route).toBe(true);
          expect(document.operation('post', route).parameters, route).toMatchObject([
            { in: 'header', name: 'X-Device-Model' },
          ]);
        }
        expect(document.acceptsBody('post', '/auth/refresh', { refreshToken: 'ext_' })).toBe(true);
        expect(document.acceptsBody('post', '/auth/refresh', { refreshToken: 7 })).toBe(false);
        expect(document.operation('post', '/auth/refresh').requestBody!.required).toBe(false);
        expect(document.operation('post', '/auth/refresh').parameters).toMatchObject([
          { in: 'header', name: 'x-renewal' },
        ]);
        expect(document.acceptsBody('post', '/auth/logout-all', { keepCurrent: true })).toBe(true);
        expect(document.acceptsBody('post', '/auth/logout-all', {})).toBe(true);
        expect(document.acceptsBody('post', '/auth/logout-all', { keepCurrent: 1 })).toBe(false);
        expect(document.acceptsBody('patch', '/auth/devices/{id}', { name: 'Laptop' })).toBe(true);
        expect(document.acceptsBody('patch', '/auth/devices/{id}', {})).toBe(false);
        expect(document.operation('patch', '/auth/devices/{id}').parameters).toMatchObject([
          { in: 'path', name: 'id' },
        ]);
      });

      it('describes the successful responses', async () => {
        const { username: email } = await app.createUser();
        const credentials = { email, 'pass-phrase': PASSWORD };
        const login = await app.post('/auth/login', credentials);
        document.expectDocumented('post', '/auth/login', login);
        const obtained = await app.post('/auth/obtain-token', credentials);
        document.expectDocumented('post', '/auth/obtain-token', obtained);
        const refreshed = await app.post('/auth/refresh', { refreshToken: login.json.refreshToken });
        document.expectDocumented('post', '/auth/refresh', refreshed);
        const { token } = obtained.json;
        document.expectDocumented('get', '/auth/token', await app.get('/auth/token', token));
        const listed = await app.get('/auth/devices', token);
        expect(listed.json).toHaveLength(2);
        document.expectDocumented('get', '/auth/devices', listed);
        const device = `/auth/devices/${login.json.deviceId}`;
        const send = (method: string, body?: unknown) => app.send(device, { method, body, headers: bearer(token) });
        document.expectDocumented('patch', '/auth/devices/{id}', await send('PATCH', { name: 'Laptop' }));
        document.expectDocumented('delete', '/auth/devices/{id}', await send('DELETE'));
        document.expectDocumented(
          'post',
          '/auth/logout-all',
          await app.post('/auth/logout-all', { keepCurrent: true }, token),
        );
        document.expectDocumented('post', '/auth/logout', await app.post('/auth/logout', undefined, token));
        const eternal = await app.tokens.issue((await app.createUser()).id, { lifespan: null });
        document.expectDocumented('get', '/auth/token', await app.get('/auth/token', eternal.plainText));
        const plainLogin = await plain.login((await plain.createUser()).username);
        plainDocument.expectDocumented('post', '/auth/login', plainLogin);
      });

      it('describes the rejections', async () => {
        const user = await app.createUser();
        const credentials = { email: user.username, 'pass-phrase': PASSWORD };
        const { token, refreshToken } = (await app.post('/auth/login', credentials)).json;
        const seen: string[] = [];
        const expectDocumented = (...[method, path, answer]: Parameters<ApiDocument['expectDocumented']>) => {
          document.expectDocumented(method, path, answer);
          seen.push(`${answer.status} ${answer.json.code}`);
        };
        await app.tokens.issue(user.id);
        await app.tokens.issue(user.id);
        for (const path of ['/auth/login', '/auth/obtain-token']) {
          expectDocumented('post', path, await app.post(path, { email: 7 }));
          expectDocumented('post', path, await app.post(path, credentials));
          const renewal = { method: 'POST', body: credentials, headers: [['X-Renewal', refreshToken]] as const };
          expectDocumented('post', path, await app.send(path, renewal));
          const nobody = { email: `nobody at ${path}`, 'pass-phrase': PASSWORD };
          // The address has one attempt, which a successful login returns.
          expectDocumented('post', path, await app.post(path, nobody));
        }
        expectDocumented('post', '/auth/refresh', await app.post('/auth/refresh'));
        expectDocumented('post', '/auth/refresh', await app.post('/auth/refresh', { refreshToken: 7 }));
        expectDocumented(
          'post',
          '/auth/refresh',
          await app.send('/auth/refresh', {
            method: 'POST',
            body: { refreshToken },
            headers: [['X-Renewal', refreshToken]],
          }),
        );
        expectDocumented('post', '/auth/logout-all', await app.post('/auth/logout-all', { keepCurrent: 1 }, token));
        const unknown = '/auth/devices/01890000-0000-7000-8000-000000000000';
        const named = (body: unknown) => app.send(unknown, { method: 'PATCH', body, headers: bearer(token) });
        expectDocumented('patch', '/auth/devices/{id}', await named({ name: 7 }));
        expectDocumented('patch', '/auth/devices/{id}', await named({ name: 'Laptop' }));
        const deleted = await app.send(unknown, { method: 'DELETE', headers: bearer(token) });
        expectDocumented('delete', '/auth/devices/{id}', deleted);
        const guarded = [
          ['get', '/auth/token'],
          ['get', '/auth/devices'],
          ['post', '/auth/logout'],
          ['post', '/auth/logout-all'],
          ['patch', '/auth/devices/{id}'],
          ['delete', '/auth/devices/{id}'],
        ] as const;
        const refusedEverywhere = async (headers: readonly (readonly [string, string])[]) => {
          for (const [method, path] of guarded) {
            const answer = await app.send(path.replace('{id}', 'x'), { method: method.toUpperCase(), headers });
            expectDocumented(method, path, answer);
          }
        };
        await refusedEverywhere([]);
        await refusedEverywhere(bearer('ext_x'));
        await refusedEverywhere([...bearer(token), ['X-Renewal', refreshToken]]);
        app.clock.advance(MINUTE_MS);
        await refusedEverywhere(bearer(token));
        await app.users.setActive(user.id, false);
        await refusedEverywhere(bearer(token));
        expectDocumented('post', '/auth/refresh', await app.post('/auth/refresh', { refreshToken }));
        await app.dataSource.query('ALTER TABLE auth_token RENAME TO gone');
        await refusedEverywhere(bearer(token));
        expectDocumented('post', '/auth/refresh', await app.post('/auth/refresh', { refreshToken }));
        await app.dataSource.query('ALTER TABLE gone RENAME TO auth_token');
        expect([...new Set(seen)].toSorted()).toEqual([
          '400 request_invalid',
          '400 token_expired',
          '400 validation_failed',
          '401 credentials_invalid',
          '401 refresh_invalid',
          '401 token_invalid',
          '401 token_missing',
          '401 user_inactive',
          '403 limit_reached',
          '404 device_not_found',
          '429 throttled',
          '503 unavailable',
        ]);
      });

      it('omits the refresh route if forRootAsync turns it off', async () => {
        const module = [ExpiringTokenModule.forRootAsync({ useFactory: () => ({ prune: false as const }) })];
        const { statuses } = await ApiDocument.of(await environment.boot({ module }));
        expect(statuses).toHaveProperty(['post /auth/login']);
        expect(statuses).not.toHaveProperty(['post /auth/refresh']);
      });
    },
    { databases: ['sqlite'] },
  );
});

class Cat {
  @ApiProperty()
  name: string;
}

@ApiExpiringToken()
@UseGuards(ExpiringTokenGuard)
@Controller('cats')
class CatsController {
  @Get()
  @ApiOkResponse({ type: Cat, isArray: true })
  list(): Cat[] {
    return [];
  }

  @Post()
  create() {}

  @Get('first')
  @Public()
  first() {}

  @OptionalToken()
  @Get('second')
  second() {}

  @Delete()
  @HttpCode(202)
  @ApiUnauthorizedResponse({ description: 'as the application says it' })
  @ApiSecurity('other')
  remove() {}
}

@Controller('dogs')
class DogsController {
  /** Metadata as the compiler plugin of @nestjs/swagger writes it. */
  static _OPENAPI_METADATA_FACTORY() {
    return { list: { type: [Cat] }, show: { type: Cat } };
  }

  @ApiExpiringToken()
  @UseGuards(ExpiringTokenGuard)
  @Get()
  list() {}

  @Get('first')
  show() {}
}

@UseGuards(ExpiringTokenGuard)
@Controller('geese')
@RequireScopes('geese')
class GeeseController {
  @Get()
  list() {}

  @RequireAnyScope('read', 'write')
  @Get('any')
  any() {}

  @RequireScopes('read', 'write')
  @OptionalToken()
  @Get('all')
  all() {}

  @Public()
  @Get('public')
  open() {}
}

describe('@RequireScopes() and @RequireAnyScope()', () => {
  onEveryEnvironment(
    (environment) => {
      it('document the scopes of each route, and the response without them', async () => {
        const app = await environment.boot({ controllers: [GeeseController], options: { isGlobal: true } });
        const document = await ApiDocument.of(app);
        const securityOf = (path: string) => document.operation('get', path).security;
        expect(securityOf('/geese')).toEqual([{ bearer: ['geese'] }]);
        expect(securityOf('/geese/any')).toEqual([{ bearer: ['read', 'geese'] }, { bearer: ['write', 'geese'] }]);
        expect(securityOf('/geese/all')).toEqual([{ bearer: ['read', 'write', 'geese'] }]);
        expect(securityOf('/geese/public')).toEqual([{}]);
        expect(Object.keys(document.operation('get', '/geese').responses)).toEqual(['200', '400', '401', '403', '503']);
        expect(Object.keys(document.operation('get', '/geese/public').responses)).toEqual(['200']);
        const { plainText } = await app.tokens.issue((await app.createUser()).id, { scopes: ['read'] });
        const refusal = await app.get('/geese/any', plainText);
        expect(refusal.status).toBe(403);
        document.expectDocumented('get', '/geese/any', refusal);
        expect(JSON.stringify(document.operation('get', '/geese/any').responses['403']!.headers)).toContain(
          JSON.stringify(refusal.headers['www-authenticate']),
        );
      });
    },
    { databases: ['sqlite'] },
  );
});

describe('ApiExpiringToken', () => {
  onEveryEnvironment(
    (environment) => {
      it("documents the guard's responses on handlers of the application that use it, and on no others", async () => {
        const app = await environment.boot({ controllers: [CatsController, DogsController] });
        const document = await ApiDocument.of(app);
        const cats = document.operation('get', '/cats');
        expect(cats.security).toEqual([BEARER]);
        expect(Object.keys(cats.responses)).toEqual(['200', '400', '401', '503']);
        expect(cats.responses['200']!.content!['application/json']!.schema).toEqual({
          type: 'array',
          items: { $ref: '#/components/schemas/Cat' },
        });
        document.expectDocumented('get', '/cats', await app.get('/cats'));
        document.expectDocumented('get', '/cats', await app.get('/cats', 'ext_x'));
        document.expectDocumented('get', '/cats', await app.get('/cats', await app.token()));
        expect(Object.keys(document.operation('post', '/cats').responses)).toEqual(['201', '400', '401', '503']);

        const open = document.operation('get', '/cats/first');
        expect([open.security, Object.keys(open.responses)]).toEqual([[{}], ['200']]);
        const optional = document.operation('get', '/cats/second');
        expect(optional.security).toEqual([BEARER, {}]);
        expect(Object.keys(optional.responses['401']!.content!['application/json']!.examples!)).toEqual([
          'token_invalid',
          'token_expired',
          'user_inactive',
        ]);
        const own = document.operation('delete', '/cats');
        expect(own.security).toEqual([{ other: [] }]);
        expect(own.responses['401']).toEqual({ description: 'as the application says it' });
        expect(own.responses).toHaveProperty('202');

        const dogs = document.operation('get', '/dogs');
        expect(dogs.security).toEqual([BEARER]);
        expect(dogs.responses['200']!.content!['application/json']!.schema).toMatchObject({ type: 'array' });
        const unmarked = document.operation('get', '/dogs/first');
        expect([unmarked.security, Object.keys(unmarked.responses)]).toEqual([undefined, ['200']]);
      });

      it('applies to every guarded route automatically with globalGuard', async () => {
        @Controller('birds')
        class BirdsController {
          @Get()
          list() {}

          @Public()
          @Get('first')
          first() {}
        }

        const app = await environment.boot({ options: { globalGuard: true }, controllers: [BirdsController] });
        const document = await ApiDocument.of(app);
        expect(document.operation('get', '/birds')).toMatchObject({
          security: [BEARER],
          responses: { 200: {}, 401: {} },
        });
        const open = document.operation('get', '/birds/first');
        expect([open.security, Object.keys(open.responses)]).toEqual([[{}], ['200']]);
        document.expectDocumented('get', '/birds', await app.get('/birds'));
      });

      it('documents an inherited handler as its controllers are guarded, or if they differ a token as optional', async () => {
        class ListController {
          @Get(':name')
          list(@Param('name') name: string) {
            return { name };
          }
        }
        class MixedListController {
          @Get()
          list() {}
        }
        @Controller('list')
        class OneController extends ListController {}
        @Controller('lists')
        class OtherController extends ListController {}
        @Public()
        @Controller('open')
        class OpenController extends MixedListController {}
        @Controller('closed')
        class ClosedController extends MixedListController {}

        const app = await environment.boot({
          options: { globalGuard: true },
          controllers: [OneController, OtherController, OpenController, ClosedController],
        });
        const document = await ApiDocument.of(app);
        for (const path of ['/list/{name}', '/lists/{name}']) {
          const { security, responses } = document.operation('get', path);
          expect([security, Object.keys(responses)], path).toEqual([[BEARER], ['200', '400', '401', '503']]);
        }
        for (const path of ['/open', '/closed']) {
          expect(document.operation('get', path).security, path).toEqual([BEARER, {}]);
        }
        expect((await app.get('/lists/x', await app.token())).json).toEqual({ name: 'x' });
      });

      it('documents a controller with the options of the application that started last', async () => {
        @Controller('health')
        class HealthController {
          @Get()
          check() {}
        }
        const documentWith = async (options: ExpiringTokenModuleOptions) => {
          const app = await environment.boot({ options, controllers: [HealthController] });
          return (await ApiDocument.of(app)).operation('get', '/health');
        };
        const first = await documentWith({ globalGuard: true, realm: 'first' });
        expect(first.security).toEqual([BEARER]);
        const responses = JSON.stringify((await documentWith({ globalGuard: true, realm: 'second' })).responses);
        expect(responses).toContain('realm=\\"second\\"');
        expect(responses).not.toContain('first');
        const unguarded = await documentWith({});
        expect([unguarded.security, Object.keys(unguarded.responses)]).toEqual([undefined, ['200']]);
      });

      it('does not overwrite a response that the plugin documents, even if the plugin is loaded after the start', async () => {
        @Controller('fish')
        class FishController {
          @Get()
          list() {}
        }
        const app = await environment.boot({ options: { globalGuard: true }, controllers: [FishController] });
        await SwaggerModule.loadPluginMetadata(async () => ({
          '@nestjs/swagger': {
            controllers: [[Promise.resolve({ FishController }), { FishController: { list: { type: [Cat] } } }]],
          },
        }));
        const { responses } = (await ApiDocument.of(app)).operation('get', '/fish');
        expect(responses['200']!.content!['application/json']!.schema).toMatchObject({ type: 'array' });
      });
    },
    { databases: ['sqlite'], adapters: ['express'] },
  );
});
