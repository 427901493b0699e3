import { deepEqual, equal, match } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { type DynamicModule, type INestApplication, Module, type Type } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { TypeOrmModule } from '@nestjs/typeorm';
import { ExpiringTokenModule, ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { AccountController, testedRegistrations, everyMethod, describeError } from './contract.js';

/*
 * Runs the application of the README and that of contract.ts, and sends HTTP requests to both.
 */

// The application of the README creates a user `ann`, so this test uses another name.
const [username, password] = ['bob', 'correct horse'];

/** The response fields that the test reads. Each response has some of them. */
interface Body {
  token: string;
  refreshToken: string;
  deviceId: string;
  username: string;
  code: string;
  length: number;
}

/** Sends a request; `line` is for example `POST /auth/login`. */
type Send = (line: string, token?: string, body?: object) => Promise<Response>;

/** Starts an application with one user, runs a client against it, and closes it. */
async function withServer(
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

  // run.mjs writes this file from the README, so it does not exist here at compile time.
  const readme: string = './readme.js';
  const { AppModule } = (await import(readme)) as { AppModule: Type };
  await withServer(AppModule, async (send) => {
    const login = await send('POST /auth/login', undefined, { username, password });
    equal(login.status, 200);
    const { token } = (await login.json()) as Body;
    deepEqual(await (await send('GET /me', token)).json(), { username });
    equal((await send('GET /me')).headers.get('WWW-Authenticate'), 'Bearer realm="api"');
  });
  console.log('README        login 200, guard 200 and 401');

  for (const [name, registration] of Object.entries(testedRegistrations)) {
    const statuses: string[] = [];
    await withServer(contractModule(registration), async (send, app) => {
      const expectStatus = async (status: number, ...request: Parameters<Send>): Promise<Body> => {
        const response = await send(...request);
        equal(response.status, status, request[0]);
        statuses.push(`${request[0]} ${status}`);
        return (status === 204 ? {} : await response.json()) as Body;
      };
      const wrong = await expectStatus(401, 'POST /auth/login', undefined, { username, password: 'wrong' });
      equal(wrong.code, 'credentials_invalid');
      const first = await expectStatus(200, 'POST /auth/login', undefined, { username, password });
      deepEqual(await expectStatus(200, 'GET /account', first.token), { username, deviceId: first.deviceId });
      deepEqual(await expectStatus(200, 'GET /account/passport', first.token), { deviceId: first.deviceId });
      equal((await expectStatus(401, 'GET /account')).code, 'token_missing');
      deepEqual(await expectStatus(200, 'GET /account/open'), { open: true });
      deepEqual(await expectStatus(200, 'GET /account/greeting'), { greeting: 'Hello stranger' });
      const { refreshToken } = first;
      const second = await expectStatus(200, 'POST /auth/refresh', undefined, { refreshToken });
      equal(second.deviceId, first.deviceId);
      equal((await expectStatus(200, 'GET /account', second.token)).username, username);
      const script = await expectStatus(201, 'POST /account/scripts', second.token, { name: 'export' });
      equal((await expectStatus(200, 'GET /auth/devices', script.token)).length, 2);
      await expectStatus(204, 'POST /auth/logout', second.token);
      equal((await expectStatus(401, 'GET /account', second.token)).code, 'token_invalid');
      equal((await expectStatus(401, 'POST /auth/refresh', undefined, second)).code, 'refresh_invalid');
      await expectStatus(200, 'GET /account', script.token);
      await everyMethod(app.get(ExpiringTokenService), app.get(UserService));
    });
    console.log(name === 'forRoot' ? statuses.join('\n') : `same responses with ${name}`);
  }

  const invalidApp = NestFactory.create(contractModule(ExpiringTokenModule.forRoot('30')), {
    abortOnError: false,
    logger: false,
  });
  match(
    await invalidApp.then(() => 'started', describeError),
    /^ExpiringTokenModule: lifespan: "30" is not allowed\. /,
  );
}

void main();
