import { setImmediate as immediate } from 'node:timers/promises';
import { Body, Controller, Get, Injectable, Module, Post, UseGuards } from '@nestjs/common';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { Test, type TestingModule } from '@nestjs/testing';
import { InjectRepository, TypeOrmModule } from '@nestjs/typeorm';
import {
  type Credentials,
  CurrentUser,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  ExpiringTokenOptionsError,
  ExpiringTokenService,
  Token,
  User,
  UserService,
  type UserStore,
} from 'nestjs-expiring-token';
import {
  actingAs,
  CLOCK,
  ExpiringTokenTestingModule,
  type ExpiringTokenTestingOptions,
  TestClock,
} from 'nestjs-expiring-token/testing';
import request from 'supertest';
import { Column, DataSource, Entity, PrimaryGeneratedColumn, type Repository } from 'typeorm';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { OpenConnections } from '../lib/transports/open-connections.js';
import { findDriver } from '../lib/testing/memory-database.js';
import { onEveryEnvironment, PASSWORD, TestEnvironment } from './fixtures/app.js';

@Entity('memo')
class Memo {
  @PrimaryGeneratedColumn()
  id: number;

  @Column()
  ownerId: string;

  @Column()
  text: string;
}

/** A module of an application, which contains nothing for tests. */
@Controller('memos')
@UseGuards(ExpiringTokenGuard)
class MemosController {
  constructor(@InjectRepository(Memo) private readonly memos: Repository<Memo>) {}

  @Post()
  write(@CurrentUser() { id: ownerId }: User, @Body() { text }: Memo) {
    return this.memos.save({ ownerId, text });
  }

  @Get()
  read(@CurrentUser() { id: ownerId }: User) {
    return this.memos.findBy({ ownerId });
  }
}

@Module({ imports: [TypeOrmModule.forFeature([Memo])], controllers: [MemosController] })
class MemosModule {}

@Entity({ name: 'auth_token', withoutRowid: true })
class LabelledToken extends Token {
  @Column('varchar', { name: 'label', nullable: true })
  label: string | null;
}

describe('ExpiringTokenTestingModule', () => {
  const running: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const app of running.splice(0)) await app.close();
  });

  const compile = (
    options?: Parameters<typeof ExpiringTokenTestingModule.forRoot>[0],
    ...imports: (typeof MemosModule)[]
  ) => Test.createTestingModule({ imports: [ExpiringTokenTestingModule.forRoot(options), ...imports] }).compile();

  const start = async (module: TestingModule) => {
    const app = await module.createNestApplication({ logger: false }).init();
    running.push(app);
    return { app, http: request(app.getHttpServer()) };
  };

  it('provides what a module under test needs: guard, users, routes and database', async () => {
    const { app, http } = await start(await compile(undefined, MemosModule));
    const [ann, bob] = [
      await app.get(UserService).create('ann', PASSWORD),
      await app.get(UserService).create('bob', PASSWORD),
    ];
    await http.get('/memos').expect(401);
    const asAnn = await actingAs(app, ann);
    await http.post('/memos').set(asAnn).send({ text: 'Buy milk' }).expect(201);
    const { body } = await http.get('/memos').set(asAnn).expect(200);
    expect(body).toEqual([{ id: 1, ownerId: ann.id, text: 'Buy milk' }]);
    await http
      .get('/memos')
      .set(await actingAs(app, bob))
      .expect(200, []);
    const { body: login } = await http.post('/auth/login').send({ username: 'ann', password: PASSWORD }).expect(200);
    await http.get('/memos').auth(login.token, { type: 'bearer' }).expect(200, body);
    await http.post('/auth/logout-all').set(asAnn).expect(200, { revoked: 2 });
    await http.get('/memos').set(asAnn).expect(401);
  });

  it('works the same with Fastify', async () => {
    const module = await compile({ refresh: {} }, MemosModule);
    const app = module.createNestApplication<NestFastifyApplication>(new FastifyAdapter(), { logger: false });
    running.push(await app.init());
    const ann = await app.get(UserService).create('ann', PASSWORD);
    const headers = await actingAs(app, ann);
    expect((await app.inject({ url: '/memos', headers })).json()).toEqual([]);
    expect((await app.inject({ url: '/memos' })).statusCode).toBe(401);
  });

  it('starts each time at the same instant with an empty database', async () => {
    for (let time = 0; time < 2; time++) {
      const { app } = await start(await compile());
      expect(app.get(TestClock).now, `application ${time}`).toBe(Date.parse('2030-01-02T03:04:05.678Z'));
      const ann = await app.get(UserService).create('ann', PASSWORD);
      const { token } = await app.get(ExpiringTokenService).issue(ann.id);
      expect(token.created, `application ${time}`).toEqual(new Date('2030-01-02T03:04:05.678Z'));
      expect(await app.get(DataSource).getRepository(User).count(), `application ${time}`).toBe(1);
    }
  });

  // Earlier than the next periodic check, which would close the connection too.
  it('closes a connection immediately when a test advances the time past its expiry', { timeout: 5000 }, async () => {
    const { app } = await start(await compile({ lifespan: '1h' }));
    const ann = await app.get(UserService).create('ann', PASSWORD);
    const { plainText, token } = await app.get(ExpiringTokenService).issue(ann.id);
    const look = vi.spyOn(app.get(ExpiringTokenService), 'introspect');
    const closed = new Promise((close) =>
      app.get(OpenConnections).watch({ isOpen: true, close, onceClosed: () => undefined }, plainText, token),
    );
    await look.mock.results[0]!.value;
    await immediate();
    app.get(TestClock).advance('1h');
    expect(await closed).toMatchObject({ code: 'token_expired' });
  });

  it('uses the time of TestClock, which a test advances', async () => {
    const { app, http } = await start(await compile('1h'));
    const ann = await app.get(UserService).create('ann', PASSWORD);
    const [own, usual] = [await actingAs(app, ann, { lifespan: '90m' }), await actingAs(app, ann)];
    const answers = async () => [
      (await http.get('/auth/token').set(own)).status,
      (await http.get('/auth/token').set(usual)).body.code ?? 200,
    ];
    const clock = app.get(TestClock);
    clock.advance('1h');
    clock.advance(-1);
    expect(await answers()).toEqual([200, 200]);
    clock.advance(1);
    expect(await answers()).toEqual([200, 'token_expired']);
    clock.now += 30 * 60_000;
    expect(await answers()).toEqual([401, 'token_expired']);
    expect(() => clock.advance('30')).toThrow('TestClock.advance: "30" is not allowed');
  });

  it('accepts the options of the module, and rejects what the module rejects', async () => {
    const { http } = await start(
      await compile({
        path: 'api/session',
        loginThrottle: { limit: 1 },
        dataSource: 'elsewhere',
        tokenEntity: LabelledToken,
      }),
    );
    const wrong = { username: 'nobody', password: PASSWORD };
    await http.post('/api/session/login').send(wrong).expect(401);
    await http.post('/api/session/login').send(wrong).expect(429);
    await expect(compile({ lifespan: '30' })).rejects.toThrow('lifespan: "30" is not allowed');
    await expect(compile({ liespan: '30d' } as ExpiringTokenTestingOptions)).rejects.toThrow('liespan: unknown option');
    await expect(compile({ users: 7 as never })).rejects.toThrow('users: 7 is not allowed');
  });

  it('does nothing in the background: it deletes no token, and accepts any number of wrong passwords', async () => {
    const { app, http } = await start(await compile());
    for (let wrong = 0; wrong < 11; wrong++)
      await http.post('/auth/login').send({ username: 'nobody', password: PASSWORD }).expect(401);
    await app.get(ExpiringTokenService).issue('7', { lifespan: 1 });
    app.get(TestClock).advance('1y');
    expect(await app.get(DataSource).getRepository(Token).count()).toBe(1);
    expect(await app.get(ExpiringTokenService).prune()).toBe(1);
  });

  it('creates tables for entities that no module registers', async () => {
    @Entity('lonely')
    class Lonely {
      @PrimaryGeneratedColumn()
      id: number;
    }
    const { app } = await start(await compile({ entities: [Lonely] }));
    expect(await app.get(DataSource).getRepository(Lonely).count()).toBe(0);
  });

  it('uses the installed SQLite driver, and names the packages to install if there is none', async () => {
    expect(await findDriver(['there-is-no-such-driver', 'libsql'])).toBeInstanceOf(Function);
    await expect(findDriver(['there-is-no-such-driver'])).rejects.toThrow('npm install --save-dev libsql, or better-');
  });
});

@Injectable()
class Directory implements UserStore<{ dn: string }> {
  findById = async (id: string) => ({ dn: `cn=${id}` });
  validateCredentials = async (_credentials: Credentials) => null;
  getId = ({ dn }: { dn: string }) => dn.replace('cn=', '');
}

describe('actingAs', () => {
  onEveryEnvironment(
    (environment) => {
      it('returns the header of a user whose request has a named device that can be revoked', async () => {
        const app = await environment.boot();
        const user = await app.createUser();
        const headers = Object.entries(await actingAs(app.nest, user, { name: 'Test', lifespan: null }));
        expect((await app.send('/me', { headers })).json).toMatchObject({ user: { id: user.id } });
        const [device] = await app.tokens.list(user.id);
        expect(device).toMatchObject({ name: 'Test', expiresAt: null });
        await app.tokens.revoke(user.id, device!.id);
        expect((await app.send('/me', { headers })).json.code).toBe('token_invalid');
      });
    },
    { databases: ['sqlite'] },
  );

  describe('in an application with its own settings', () => {
    const environment = new TestEnvironment('sqlite', 'express');
    beforeEach(() => environment.open());
    afterEach(() => environment.close());

    it('gets the id from the user store, and uses an accepted scheme', async () => {
      const app = await environment.boot({ options: { users: Directory, schemes: ['Token', 'Bearer'] } });
      const headers = await actingAs(app.nest, { dn: 'cn=ann' });
      expect(headers.Authorization).toMatch(/^Token ext_/);
      const { json } = await app.send('/me', { headers: Object.entries(headers) });
      expect(json).toMatchObject({ user: { dn: 'cn=ann' }, token: { userId: 'ann' } });
    });

    it('rejects an id in place of the user', async () => {
      const app = await environment.boot();
      const { id } = await app.createUser();
      for (const user of [id, null, undefined])
        await expect(actingAs(app.nest, user as never), String(user)).rejects.toThrow('actingAs takes the user itself');
    });

    it('works with TestClock in the real application too, on its own database', async () => {
      const clock = new TestClock('2040-05-06T07:08:09Z');
      const module = await Test.createTestingModule({
        imports: [environment.typeOrm(), ExpiringTokenModule.forRoot({ lifespan: '1h', prune: false })],
      })
        .overrideProvider(CLOCK)
        .useValue(() => clock.now)
        .compile();
      const app = await module.createNestApplication({ logger: false }).init();
      const headers = await actingAs(app, await app.get(UserService).create('ann', PASSWORD));
      const token = () => request(app.getHttpServer()).get('/auth/token').set(headers);
      expect((await token().expect(200)).body).toMatchObject({ createdAt: '2040-05-06T07:08:09.000Z' });
      clock.advance('1h');
      await token().expect(401);
      await app.close();
    });
  });
});

describe('With NODE_ENV=production', () => {
  afterEach(() => {
    vi.unstubAllEnvs();
  });

  const start = (options: ExpiringTokenTestingOptions) =>
    Test.createTestingModule({ imports: [ExpiringTokenTestingModule.forRoot(options)] }).compile();

  it('the testing module stops the start, with an error that names the option', async () => {
    vi.stubEnv('NODE_ENV', 'production');
    const started = start({});
    await expect(started).rejects.toBeInstanceOf(ExpiringTokenOptionsError);
    await expect(started).rejects.toThrow('set allowProduction: true');
  });

  it('the testing module starts with allowProduction, and elsewhere without it', async () => {
    vi.stubEnv('NODE_ENV', 'production');
    await (await start({ allowProduction: true })).close();
    vi.stubEnv('NODE_ENV', 'test');
    await (await start({ allowProduction: false })).close();
    vi.stubEnv('NODE_ENV', undefined);
    await (await start({})).close();
  });
});
