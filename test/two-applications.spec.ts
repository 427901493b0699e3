import { Controller, type ExecutionContext, Get, Injectable, Module, UseGuards } from '@nestjs/common';
import { APP_GUARD, NestFactory } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { CurrentUser, type User } from 'nestjs-expiring-token';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AdapterName, type BootOptions, type TestApp, TestEnvironment } from './fixtures/app.js';
import { bearer, request } from './fixtures/http.js';
import { NEST_MAJOR } from './fixtures/versions.js';

@Injectable()
class HeadersGuard extends AuthGuard('expiring-token') {
  /** An object that looks like a request, as an application makes it for another kind of context. */
  override getRequest(context: ExecutionContext) {
    const { headers } = context.switchToHttp().getRequest<{ headers: object }>();
    return { headers };
  }
}

@Controller()
class EveryGuardController {
  @Get('headers')
  @UseGuards(HeadersGuard)
  headers() {
    return {};
  }

  @Get('chain')
  @UseGuards(AuthGuard(['expiring-token']))
  chain(@CurrentUser() user: User) {
    return { id: user.id };
  }
}

@Controller('global')
class GlobalController {
  @Get()
  get(@CurrentUser() user: User) {
    return { id: user.id };
  }
}

/** The guard of the root module, which Nest runs before those of imported modules. */
@Module({ providers: [{ provide: APP_GUARD, useClass: AuthGuard('expiring-token') }], controllers: [GlobalController] })
class GlobalGuardModule {}

let environments: TestEnvironment[];

/** Boots an application with a database of its own. */
async function boot(adapter: AdapterName, options: BootOptions): Promise<TestApp> {
  const environment = new TestEnvironment('sqlite', adapter);
  environments.push(environment);
  await environment.open();
  return environment.boot({ controllers: [EveryGuardController], ...options });
}

/** Expects that each application accepts its own users, and rejects those of the other one. */
async function expectSeparate(applications: readonly (readonly [app: TestApp, prefix: string])[], paths: string[]) {
  for (const [app, prefix] of applications) {
    for (const [owner] of applications) {
      const token = await owner.token();
      for (const path of paths) {
        const { status } = await app.get(`${prefix}${path}`, token);
        expect(status, `${prefix}${path} with a token of ${owner === app ? 'its own' : 'the other'} users`).toBe(
          owner === app ? 200 : 401,
        );
      }
    }
    expect((await app.get(`${prefix}/passport`)).status).toBe(401);
  }
}

beforeEach(() => {
  environments = [];
});

afterEach(async () => {
  for (const environment of environments) await environment.close();
});

/** There the first application on an Express instance answers 404 for all paths that are not its own. */
const FIRST_TAKES_ALL = NEST_MAJOR === 11;

describe.runIf(FIRST_TAKES_ALL)('Two applications on one Express instance, on NestJS 11', () => {
  it('accept nobody in the second one: the first answers its routes 404', async () => {
    const shared = new ExpressAdapter();
    const onShared = (globalPrefix: string) =>
      boot('express', { adapter: new ExpressAdapter(shared.getInstance()), globalPrefix });
    const [first, second] = [await onShared('one'), await onShared('two')];
    const [ofFirst, ofSecond] = [await first.token(), await second.token()];
    expect((await first.get('/one/me', ofFirst)).status).toBe(200);
    expect((await first.get('/one/me', ofSecond)).status).toBe(401);
    for (const token of [ofFirst, ofSecond]) expect((await second.get('/two/me', token)).status).toBe(404);
  });
});

describe.skipIf(FIRST_TAKES_ALL)('Two applications on one Express instance', () => {
  const PATHS = ['/me', '/passport', '/chain', '/optional'];
  let shared: ExpressAdapter;

  beforeEach(() => {
    shared = new ExpressAdapter();
  });

  const onShared = (globalPrefix: string, options: BootOptions = {}) =>
    boot('express', { adapter: new ExpressAdapter(shared.getInstance()), globalPrefix, ...options });

  it('each accept their own users only, through each guard', async () => {
    const applications = [
      [await onShared('one'), '/one'],
      [await onShared('two'), '/two'],
    ] as const;
    await expectSeparate(applications, PATHS);
    await expectSeparate(applications.toReversed(), PATHS);
  });

  it('each accept their own users only, if AuthGuard is the first global guard', async () => {
    const imports = [GlobalGuardModule];
    const applications = [
      [await onShared('one', { imports }), '/one'],
      [await onShared('two', { imports }), '/two'],
    ] as const;
    await expectSeparate(applications, ['/global', '/me', '/passport']);
  });

  it('each accept their own users only, if a third one is elsewhere in the process', async () => {
    const third = await boot('fastify', {});
    const applications = [
      [await onShared('one'), '/one'],
      [await onShared('two'), '/two'],
    ] as const;
    await expectSeparate(applications, PATHS);
    await expectSeparate([[third, '']], PATHS);
    expect((await third.get('/passport', await applications[1][0].token())).status).toBe(401);
  });

  it('accept nobody in a third application on it, which does not import the module', async () => {
    const one = await onShared('one');
    @Module({ controllers: [EveryGuardController] })
    class WithoutModule {}
    const other = await NestFactory.create(WithoutModule, new ExpressAdapter(shared.getInstance()), { logger: false });
    other.setGlobalPrefix('without');
    await other.init();
    const token = await one.token();
    expect((await one.get('/one/chain', token)).status).toBe(200);
    expect((await one.get('/without/chain', token)).status).toBe(500);
    await other.close();
  });

  it.each([0, 1])('do not take over the routes of the other one after application %i was closed', async (closed) => {
    const applications = [await onShared('one'), await onShared('two')] as const;
    const prefixes = ['/one', '/two'] as const;
    const tokens = await Promise.all(applications.map((app) => app.token()));
    await environments[closed]!.closeApplications();
    const open = 1 - closed;
    const app = applications[open]!;
    expect((await app.get(`${prefixes[open]}/passport`, tokens[open])).status).toBe(200);
    expect((await app.get(`${prefixes[open]}/passport`, tokens[closed])).status).toBe(401);
    // Express keeps the routes of the closed application. Its database is not there.
    expect((await app.get(`${prefixes[closed]}/passport`, tokens[open])).status).toBe(503);
    expect((await app.get(`${prefixes[closed]}/me`, tokens[open])).status).toBe(503);
  });
});

describe.each([
  ['express', 'express'],
  ['express', 'fastify'],
  ['fastify', 'fastify'],
] as const)('Two applications, on %s and %s,', (...adapters) => {
  it('each accept their own users only, through each guard', async () => {
    const imports = [GlobalGuardModule];
    const [first, second] = [await boot(adapters[0], { imports }), await boot(adapters[1], { imports })];
    await expectSeparate(
      [
        [first, ''],
        [second, ''],
      ],
      ['/me', '/passport', '/chain', '/global'],
    );
    await environments[1]!.closeApplications();
    await expectSeparate([[first, '']], ['/me', '/passport', '/chain', '/global']);
  });
});

describe("AuthGuard('expiring-token')", () => {
  it.each(['express', 'fastify'] as const)(
    'of an application without the module accepts nobody, on %s',
    async (name) => {
      const app = await boot(name, {});
      @Module({ controllers: [EveryGuardController] })
      class WithoutModule {}
      const adapter = name === 'express' ? new ExpressAdapter() : new FastifyAdapter();
      const other = await NestFactory.create(WithoutModule, adapter as ExpressAdapter, { logger: false });
      await other.listen(0, '127.0.0.1');
      const token = await app.token();
      expect((await app.get('/chain', token)).status).toBe(200);
      expect((await request(await other.getUrl(), '/chain', { headers: bearer(token) })).status).toBe(500);
      await other.close();
    },
  );

  it('accepts an object that only looks like a request, if the process has one application', async () => {
    const app = await boot('express', {});
    const token = await app.token();
    expect((await app.get('/headers', token)).status).toBe(200);
    expect((await app.get('/headers')).status).toBe(401);
    const other = await boot('express', {});
    expect((await app.get('/headers', token)).status).toBe(500);
    expect((await other.get('/headers', token)).status).toBe(500);
    await environments[1]!.closeApplications();
    expect((await app.get('/headers', token)).status).toBe(200);
  });
});
