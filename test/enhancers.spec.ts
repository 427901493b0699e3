import {
  BadRequestException,
  type CallHandler,
  ClassSerializerInterceptor,
  type ExecutionContext,
  type INestApplication,
  Injectable,
  Module,
  type NestInterceptor,
  StandardSchemaSerializerInterceptor,
  type Type,
  ValidationPipe,
  VersioningType,
} from '@nestjs/common';
import { APP_INTERCEPTOR, Reflector, RouterModule } from '@nestjs/core';
import { CacheInterceptor, CacheModule } from '@nestjs/cache-manager';
import { Transport } from '@nestjs/microservices';
import { ExpiringTokenModule } from 'nestjs-expiring-token';
import { timeout } from 'rxjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { type BootOptions, onEveryEnvironment, PASSWORD, type TestApp, warnings } from './fixtures/app.js';
import { type Answer, bearer } from './fixtures/http.js';
import { NEST_MAJOR } from './fixtures/versions.js';

const configured = (configure: (nest: INestApplication) => void): BootOptions => ({ configure });

const serializer = (options: object): BootOptions =>
  configured((nest) => nest.useGlobalInterceptors(new ClassSerializerInterceptor(nest.get(Reflector), options)));

const cached = (interceptor: Type<CacheInterceptor>): BootOptions => {
  @Module({
    imports: [CacheModule.register({ ttl: 60_000 })],
    providers: [{ provide: APP_INTERCEPTOR, useClass: interceptor }],
  })
  class CachedModule {}
  return { imports: [CachedModule] };
};

class Empty {}

/** A cache that does not distinguish users, as the documentation of Nest shows it. */
@Injectable()
class CacheByUrl extends CacheInterceptor {
  override trackBy(context: ExecutionContext) {
    return context.switchToHttp().getRequest<{ url: string }>().url;
  }
}

class TimeoutInterceptor implements NestInterceptor {
  intercept(_: ExecutionContext, next: CallHandler) {
    return next.handle().pipe(timeout(60_000));
  }
}

const emptySchema = {
  '~standard': { version: 1, vendor: 'test', validate: () => ({ value: {} }) },
} as const;

const refuseAll = { transform: () => Promise.reject(new BadRequestException('piped')) };

const strict = (options: object) =>
  configured((nest) => nest.useGlobalPipes(new ValidationPipe({ whitelist: true, ...options })));

/** What applications set up for all their routes, each with the path at which the routes of the package are then. */
const ENHANCERS: [enhancer: string, boot: () => BootOptions, path?: string][] = [
  ['nothing', () => ({})],
  ['a serializer that exposes nothing', () => serializer({ strategy: 'excludeAll' })],
  ['a serializer with prefixes', () => serializer({ excludePrefixes: ['t', 'e', 'd', 'i', 'n', 'r'] })],
  ['a serializer for a class', () => serializer({ type: Empty, excludeExtraneousValues: true })],
  ['a cache', () => cached(CacheInterceptor)],
  ['a cache with keys of its own', () => cached(CacheByUrl)],
  ['a time limit', () => configured((nest) => nest.useGlobalInterceptors(new TimeoutInterceptor()))],
  ['a strict ValidationPipe', () => strict({ forbidNonWhitelisted: true, forbidUnknownValues: true })],
  [
    'a ValidationPipe that transforms',
    () => strict({ transform: true, transformOptions: { enableImplicitConversion: true } }),
  ],
  ['a ValidationPipe for one class', () => strict({ expectedType: Empty, transform: true })],
  ['a pipe that rejects everything', () => configured((nest) => nest.useGlobalPipes(refuseAll))],
  [
    'a RouterModule',
    () => ({ imports: [RouterModule.register([{ path: 'v1', module: ExpiringTokenModule }])] }),
    '/v1/auth',
  ],
  [
    'versions and a global prefix',
    () => ({ versioning: { type: VersioningType.URI, defaultVersion: '1' }, globalPrefix: 'api' }),
    '/api/v1/auth',
  ],
  [
    'a microservice in the same application',
    () =>
      configured((nest) => {
        const options = { transport: Transport.TCP, options: { port: 0, host: '127.0.0.1' } };
        nest.connectMicroservice(options, { inheritAppConfig: true });
      }),
  ],
];

const TIME = expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
/** The first use of a token is written later. */
const TIME_OR_NULL = expect.toBeOneOf([TIME, null]);
const ID = expect.stringMatching(/^[\da-f-]{36}$/);
const TOKEN = expect.stringMatching(/^ext_\w+/);

const TOKEN_RESPONSE = { token: TOKEN, tokenType: 'Bearer', expiresIn: 3600, expiresAt: TIME, deviceId: ID };
const PAIR_RESPONSE = { ...TOKEN_RESPONSE, refreshToken: TOKEN, refreshExpiresIn: 604_800, refreshExpiresAt: TIME };

describe('Each route has the documented response in an application with', () => {
  onEveryEnvironment(
    (environment) => {
      const routesWith = (boot: () => BootOptions, path = '/auth') => {
        let app: TestApp;
        beforeAll(async () => {
          app = await environment.boot({ options: { lifespan: '1h', refresh: {} }, ...boot() });
          await app.nest.startAllMicroservices();
        });

        const send = (method: string, route: string, token?: string, body?: object): Promise<Answer> =>
          app.send(path + route, { method, headers: token ? bearer(token) : [], body });

        async function logIn(deviceName: string) {
          const { username } = await app.createUser();
          const credentials = { username, password: PASSWORD, deviceName };
          const { status, json } = await send('POST', '/login', undefined, credentials);
          expect(status).toBe(200);
          expect(json).toEqual(PAIR_RESPONSE);
          return { credentials, ...json };
        }

        it('login, obtain-token and refresh', async () => {
          const { credentials, refreshToken, deviceId } = await logIn('telephone');
          const obtained = await send('POST', '/obtain-token', undefined, credentials);
          expect(obtained.json).toEqual(TOKEN_RESPONSE);
          const refreshed = await send('POST', '/refresh', undefined, { refreshToken });
          expect(refreshed.json).toEqual({ ...PAIR_RESPONSE, deviceId });
        });

        it('token and devices, and of the user who asks', async () => {
          for (const name of ['telephone of Ann', 'telephone of Bob']) {
            const { token, deviceId } = await logIn(name);
            for (const attempt of [1, 2]) {
              const current = await send('GET', '/token', token);
              const times = { createdAt: TIME, expiresAt: TIME, lastUsedAt: TIME_OR_NULL };
              expect(current.json, `attempt ${attempt}`).toEqual({ deviceId, name, scopes: null, ...times });
              const devices = await send('GET', '/devices', token);
              const device = { id: deviceId, name, userAgent: null, current: true, ...times };
              expect(devices.json, `attempt ${attempt}`).toEqual([device]);
              for (const { headers } of [current, devices]) expect(headers).not.toHaveProperty('x-cache', 'HIT');
            }
          }
        });

        it('the name of a device, and its end', async () => {
          const { token, deviceId } = await logIn('telephone');
          const { credentials } = await logIn('another');
          const renamed = await send('PATCH', `/devices/${deviceId}`, token, { name: 'tablet' });
          expect(renamed.status).toBe(200);
          expect(renamed.json).toMatchObject({ id: deviceId, name: 'tablet', current: true, createdAt: TIME });
          expect((await send('GET', '/devices', token)).json).toMatchObject([{ name: 'tablet' }]);
          const other = (await send('POST', '/login', undefined, credentials)).json.deviceId;
          expect((await send('DELETE', `/devices/${other}`, token)).json).toMatchObject({ code: 'device_not_found' });
          const deleted = await send('DELETE', `/devices/${deviceId}`, token);
          expect([deleted.status, deleted.text]).toEqual([204, '']);
          expect((await send('GET', '/token', token)).json).toMatchObject({ code: 'token_invalid' });
        });

        it('logout and logout-all', async () => {
          const { credentials, token } = await logIn('telephone');
          const second = (await send('POST', '/login', undefined, credentials)).json.token;
          expect((await send('POST', '/logout-all', second, { keepCurrent: true })).json).toEqual({ revoked: 1 });
          expect((await send('GET', '/devices', token)).status).toBe(401);
          const loggedOut = await send('POST', '/logout', second);
          expect([loggedOut.status, loggedOut.text]).toEqual([204, '']);
          expect((await send('GET', '/devices', second)).json).toMatchObject({ code: 'token_invalid' });
        });

        it('errors, which quote nothing', async () => {
          const before = warnings.length;
          const { credentials } = await logIn('telephone');
          const wrong = { ...credentials, password: 'hunter2' };
          const unknownFields = { username: 7, password: 'hunter2', more: 'hunter2' };
          const answers = [
            [await send('POST', '/login', undefined, wrong), 'credentials_invalid'],
            [await send('POST', '/login', undefined, unknownFields), 'validation_failed'],
            [await send('POST', '/refresh', undefined, { refreshToken: 'hunter2' }), 'refresh_invalid'],
            [await send('GET', '/devices'), 'token_missing'],
            [await send('GET', '/devices', 'hunter2'), 'token_invalid'],
          ] as const;
          for (const [{ json, text }, code] of answers) {
            expect(json).toMatchObject({ code });
            expect(text).not.toContain('hunter2');
          }
          expect(warnings.slice(before).join('\n')).not.toContain('hunter2');
        });
      };

      describe.each(ENHANCERS)('%s', (_, boot, path) => routesWith(boot, path));

      describe.skipIf(NEST_MAJOR === 11)('a serializer with a schema, which NestJS 11 does not have', () =>
        routesWith(() =>
          configured((nest) =>
            nest.useGlobalInterceptors(
              new StandardSchemaSerializerInterceptor(nest.get(Reflector), { schema: emptySchema }),
            ),
          ),
        ),
      );
    },
    { databases: ['sqlite'] },
  );
});
