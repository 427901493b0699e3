import { deepEqual, equal, match } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type DynamicModule, type INestApplication, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { AccountController, driven, everyMethod, refusal } from './contract.js';

/*
 * Runs the application of the README and that of contract.ts, and is their client over HTTP.
 */

// Not ann: the application of the README creates her.
const [username, password] = ['bob', 'correct horse'];

/** The fields that are looked at, of whatever answer has them. */
interface Body {
  token: string;
  refreshToken: string;
  deviceId: string;
  username: string;
  code: string;
  length: number;
}

/** Sends a request, such as `POST /auth/login`. */
type Send = (line: string, token?: string, body?: object) => Promise<Response>;

/** Starts an application with one user, lets a client use it, and ends it. */
async function serving(
  module: Type | DynamicModule,
  client: (send: Send, app: INestApplication) => Promise<void>,
): Promise<void> {
  const app = await NestFactory.create(module, { logger: ['error', 'warn'] });
  await app.listen(0, '127.0.0.1');
  await app.get(UserService).create(username, password);
  const origin = await app.getUrl();
  await client((line, token, body) => {
    const [method = '', path = ''] = line.split(' ');
    return fetch(origin + path, {
      method,
      headers: {
        ...(token && { Authorization: `Bearer ${token}` }),
        ...(body && { 'Content-Type': 'application/json' }),
      },
      ...(body && { body: JSON.stringify(body) }),
    });
  }, app);
  await app.close();
}

const contractModule = (tokens: DynamicModule): DynamicModule => {
  @Module({})
  class ContractModule {}
  return {
    module: ContractModule,
    imports: [
      TypeOrmModule.forRoot({
        type: 'better-sqlite3',
        database: ':memory:',
        autoLoadEntities: true,
        synchronize: true,
      }),
      tokens,
    ],
    controllers: [AccountController],
  };
};

async function main(): Promise<void> {
  const manifest = (directory: string) =>
    JSON.parse(readFileSync(`${directory}/package.json`, 'utf8')) as { version: string; type?: string };
  const version = (name: string) => `${name} ${manifest(`node_modules/${name}`).version}`;
  const kind = manifest('.').type === 'module' ? 'ESM' : 'CommonJS';
  console.log(`Node ${process.version}, ${['@nestjs/core', 'typeorm', 'typescript'].map(version).join(', ')}, ${kind}`);

  // Out of the README; there is no such file here.
  const readme: string = './readme.js';
  const { AppModule } = (await import(readme)) as { AppModule: Type };
  await serving(AppModule, async (send) => {
    const login = await send('POST /auth/login', undefined, { username, password });
    equal(login.status, 200);
    const { token } = (await login.json()) as Body;
    deepEqual(await (await send('GET /me', token)).json(), { username });
    equal((await send('GET /me')).headers.get('WWW-Authenticate'), 'Bearer realm="api"');
  });
  console.log('README        login 200, guard 200 and 401');

  for (const [name, registration] of Object.entries(driven)) {
    const statuses: string[] = [];
    await serving(contractModule(registration), async (send, app) => {
      const expecting = async (status: number, ...request: Parameters<Send>): Promise<Body> => {
        const answer = await send(...request);
        equal(answer.status, status, request[0]);
        statuses.push(`${request[0]} ${status}`);
        return (status === 204 ? {} : await answer.json()) as Body;
      };
      const wrong = await expecting(401, 'POST /auth/login', undefined, { username, password: 'wrong' });
      equal(wrong.code, 'credentials_invalid');
      const first = await expecting(200, 'POST /auth/login', undefined, { username, password });
      deepEqual(await expecting(200, 'GET /account', first.token), { username, deviceId: first.deviceId });
      deepEqual(await expecting(200, 'GET /account/passport', first.token), { deviceId: first.deviceId });
      equal((await expecting(401, 'GET /account')).code, 'token_missing');
      deepEqual(await expecting(200, 'GET /account/open'), { open: true });
      deepEqual(await expecting(200, 'GET /account/greeting'), { greeting: 'Hello stranger' });
      const { refreshToken } = first;
      const second = await expecting(200, 'POST /auth/refresh', undefined, { refreshToken });
      equal(second.deviceId, first.deviceId);
      equal((await expecting(200, 'GET /account', second.token)).username, username);
      const script = await expecting(201, 'POST /account/scripts', second.token, { name: 'export' });
      equal((await expecting(200, 'GET /auth/devices', script.token)).length, 2);
      await expecting(204, 'POST /auth/logout', second.token);
      equal((await expecting(401, 'GET /account', second.token)).code, 'token_invalid');
      equal((await expecting(401, 'POST /auth/refresh', undefined, second)).code, 'refresh_invalid');
      await expecting(200, 'GET /account', script.token);
      await everyMethod(app.get(ExpiringTokenService), app.get(UserService));
    });
    console.log(name === 'forRoot' ? statuses.join('\n') : `the same by ${name}`);
  }

  const refused = NestFactory.create(contractModule(ExpiringTokenModule.forRoot('30')), {
    abortOnError: false,
    logger: false,
  });
  match(await refused.then(() => 'started', refusal), /^ExpiringTokenModule: lifespan: "30" is not allowed\. /);
}

void main();
