import { createHash, pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type CanActivate, Controller, type ExecutionContext, Get, Injectable, Post, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Algorithm, hash } from '@node-rs/argon2';
import {
  type Credentials,
  CurrentUser,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  ExpiringTokenService,
  Token,
  typeOrmUsers,
  type UserStore,
} from 'nestjs-expiring-token';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import { afterAll, beforeAll, describe, expect, it, type RunnerTask } from 'vitest';
import { onEveryDatabase, onOneEnvironment, PASSWORD, TestEnvironment, type TestApp } from './fixtures/app.js';
import type { Answer } from './fixtures/http.js';

/*
 * The describes are named for the headings of docs/coming-from.md, and each test for its row there: the first cell, a
 * colon, and what is shown. The last test of this file compares the two.
 */

const SECRET = 'a secret of thirty-two bytes, or more';
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/** An instant as answers have it: now, or so many milliseconds from now. */
const at = (app: TestApp, milliseconds = 0) => new Date(app.clock.now + milliseconds).toISOString();

/** A key as DRF makes them, and as drf-jwt-devices makes permanent tokens. */
const drfKey = () => randomBytes(20).toString('hex');

/** A token as Sanctum shows it, and what it stores of it. */
function sanctumToken(prefix = '') {
  const secret = `${prefix}${randomBytes(30).toString('base64').replaceAll(/[+/]/g, 'x')}${randomBytes(4).toString('hex')}`;
  return { secret, plainText: `12|${secret}`, digest: sha256(secret) };
}

const withScheme = (app: TestApp, scheme: string, token: string) =>
  app.send('/me', { headers: [['Authorization', `${scheme} ${token}`]] });

const obtain = (app: TestApp, username: string) => app.post('/auth/obtain-token', { username, password: PASSWORD });

const login = async (app: TestApp, username: string) => (await app.login(username)).json;

/** Uses a token, and waits until that is written down. Returns when it was last used, as it is known then. */
async function use(app: TestApp, token: string): Promise<string> {
  expect((await app.get('/me', token)).status).toBe(200);
  await app.usesWritten();
  return (await app.get('/auth/token', token)).json.lastUsedAt;
}

/** Runs specs on a database that no other application shares: for one that deletes in the background. */
async function alone(
  { databaseName, adapterName }: TestEnvironment,
  specs: (environment: TestEnvironment) => Promise<void>,
): Promise<void> {
  const environment = new TestEnvironment(databaseName, adapterName);
  await environment.open();
  await specs(environment).finally(() => environment.close());
}

/** Expects a refusal of this package: its status, its code, and its words if they are given. */
function refused({ status, json }: Answer, expectedStatus: number, code: string, message?: string): void {
  expect({ status, code: json?.code }).toEqual({ status: expectedStatus, code });
  if (message !== undefined) expect(json.message).toBe(message);
}

/** Starts a module with options that another package has, as an application without a database would. */
const start = (options: object) =>
  Test.createTestingModule({ imports: [ExpiringTokenModule.forRoot(options)] }).compile();

const notAnOption = (option: string, value: unknown) =>
  expect(start({ [option]: value })).rejects.toThrow(`${option}: there is no such option`);

/** A token with a column of the application's own. */
@Entity('able_token')
class AbleToken extends Token {
  @Column('varchar', { nullable: true })
  abilities: string | null;
}

/** A guard of the application, to stand after the guard of the package. */
@Injectable()
class MayUpdateServers implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { authInfo } = context.switchToHttp().getRequest<{ authInfo: { token: AbleToken } }>();
    return authInfo.token.abilities?.split(' ').includes('server:update') ?? false;
  }
}

@Controller('servers')
@UseGuards(ExpiringTokenGuard, MayUpdateServers)
class ServersController {
  @Post()
  update() {
    return { updated: true };
  }
}

/** A login of the application's own, with an answer of its own, for users whom something else has let in. */
@Controller('sessions')
class SessionsController {
  static readonly userIds: string[] = [];

  constructor(private readonly tokens: ExpiringTokenService) {}

  @Post()
  async create() {
    const { plainText, token } = await this.tokens.issue(SessionsController.userIds.at(-1)!, { lifespan: '10h' });
    return { expiry: this.tokens.expiryOf(token), token: plainText };
  }
}

@Controller('whoami')
@UseGuards(ExpiringTokenGuard)
class WhoAmIController {
  @Get()
  whoAmI(@CurrentUser() user: { kind: string }) {
    return { kind: user.kind };
  }
}

/** Owners of two classes, told apart by their ids. */
class Admin {
  readonly kind = 'an administrator';
  constructor(readonly key: number) {}
}
class Customer {
  readonly kind = 'a customer';
  constructor(readonly key: number) {}
}

@Injectable()
class Owners implements UserStore<Admin | Customer> {
  findById(id: string): Promise<Admin | Customer | null> {
    const [kind, key] = id.split(':');
    return Promise.resolve(kind === 'admin' ? new Admin(Number(key)) : new Customer(Number(key)));
  }

  validateCredentials({ username }: Credentials): Promise<Admin | Customer | null> {
    return this.findById(username);
  }

  getId(owner: Admin | Customer): string {
    return `${owner instanceof Admin ? 'admin' : 'customer'}:${owner.key}`;
  }
}

describe('Coming from', () => {
  // What the databases have a part in is shown on each where the option is tested by itself; import is below.
  onOneEnvironment((environment) => {
    /** With no option but the shape of DRF's tokens, which it admits for all its other tests. */
    let plain: TestApp;
    /** As a project of DRF would have it. */
    let drf: TestApp;
    /** As a project with drf-jwt-devices would have it. */
    let devices: TestApp;
    /** As a project with Sanctum would have it. */
    let sanctum: TestApp;
    /** With a token entity of its own, and so on a database of its own. */
    let able: TestApp;
    const apart = new TestEnvironment(environment.databaseName, environment.adapterName);
    beforeAll(async () => {
      plain = await environment.boot();
      drf = await environment.boot({
        options: {
          lifespan: '25d',
          secret: SECRET,
          schemes: ['Bearer', 'Token'],
          expiredStatus: 400,
          imported: ['drf'],
        },
      });
      devices = await environment.boot({
        options: { refresh: { header: 'Permanent-Token' }, schemes: ['Bearer', 'JWT'], imported: ['drf'] },
      });
      sanctum = await environment.boot({ options: { usernameField: 'email', imported: ['sanctum'] } });
      await apart.open();
      able = await apart.boot({ options: { tokenEntity: AbleToken }, controllers: [ServersController] });
    });
    afterAll(() => apart.close());

    describe('djangorestframework-expiring-authtoken', () => {
      it('EXPIRING_TOKEN_LIFESPAN: is lifespan, 30 days by default, and counts for tokens already issued', async () => {
        const token = await plain.token();
        expect((await plain.get('/auth/token', token)).json.expiresAt).toBe(at(plain, 30 * DAY_MS));
        const shorter = await environment.boot({ options: { lifespan: '25d' }, clock: plain.clock });
        plain.clock.advance(25 * DAY_MS - 1);
        expect((await shorter.get('/me', token)).status).toBe(200);
        plain.clock.advance(1);
        refused(await shorter.get('/me', token), 401, 'token_expired');
        expect((await plain.get('/me', token)).status).toBe(200);
        plain.clock.advance(5 * DAY_MS);
        refused(await plain.get('/me', token), 401, 'token_expired');
      });

      it('ExpiringTokenAuthentication: is the guard, of one controller or of all routes', async () => {
        refused(await plain.get('/me'), 401, 'token_missing');
        @Controller('unguarded')
        class UnguardedController {
          @Get()
          get() {
            return {};
          }
        }
        const [one, all] = await Promise.all(
          [false, true].map((globalGuard) =>
            environment.boot({ options: { globalGuard }, controllers: [UnguardedController] }),
          ),
        );
        expect((await one!.get('/unguarded')).status).toBe(200);
        refused(await all!.get('/unguarded'), 401, 'token_missing');
        expect((await all!.get('/unguarded', await all!.token())).status).toBe(200);
      });

      it('Authorization: Token …: is read where schemes says so', async () => {
        expect((await withScheme(drf, 'Token', await drf.token())).status).toBe(200);
        expect((await withScheme(drf, 'Bearer', await drf.token())).status).toBe(200);
        refused(await withScheme(plain, 'Token', await plain.token()), 401, 'token_missing');
      });

      it('obtain_expiring_auth_token: is obtain-token, which with a secret returns the live token as it is', async () => {
        const { username } = await drf.createUser();
        const first = await obtain(drf, username);
        expect(first.status).toBe(200);
        drf.clock.advance(25 * DAY_MS - 1);
        expect((await obtain(drf, username)).json.token).toBe(first.json.token);
        drf.clock.advance(1);
        const second = await obtain(drf, username);
        expect(second.json.token).not.toBe(first.json.token);
        expect((await withScheme(drf, 'Token', second.json.token)).status).toBe(200);

        const other = await plain.createUser();
        const replaced = (await obtain(plain, other.username)).json.token;
        await obtain(plain, other.username);
        refused(await plain.get('/me', replaced), 401, 'token_invalid');
      });

      it('{"token": …}: is in the answer, and more beside it', async () => {
        const { username } = await drf.createUser();
        expect((await obtain(drf, username)).json).toEqual({
          token: expect.any(String),
          tokenType: 'Bearer',
          expiresIn: (25 * DAY_MS) / 1000,
          expiresAt: at(drf, 25 * DAY_MS),
          deviceId: expect.any(String),
        });
      });

      it('Credentials in a form: are 400', async () => {
        const { username } = await drf.createUser();
        const form = new URLSearchParams({ username, password: PASSWORD }).toString();
        const answer = await drf.send('/auth/obtain-token', {
          method: 'POST',
          headers: [['Content-Type', 'application/x-www-form-urlencoded']],
          rawBody: form,
        });
        refused(answer, 400, 'validation_failed', 'Content-Type must be application/json');
      });

      it('Wrong credentials: are 401, in the same words', async () => {
        const { username } = await drf.createUser();
        const answer = await drf.post('/auth/obtain-token', { username, password: 'wrong' });
        refused(answer, 401, 'credentials_invalid', 'Unable to log in with provided credentials');
      });

      it('A missing field: is 400 and named', async () => {
        const answer = await drf.post('/auth/obtain-token', { username: 'ann' });
        refused(answer, 400, 'validation_failed');
        expect(answer.json.message).toContain('password');
      });

      it('throttle_classes: are loginThrottle, on by default', () =>
        alone(environment, async (own) => {
          const throttled = await own.boot({ module: [ExpiringTokenModule.forRoot()] });
          const unlimited = await own.boot({ options: { loginThrottle: false } });
          for (const [app, last] of [
            [throttled, 429],
            [unlimited, 401],
          ] as const) {
            const { username } = await app.createUser();
            const statuses: number[] = [];
            for (let attempt = 0; attempt < 11; attempt++) statuses.push((await app.login(username, 'wrong')).status);
            expect(statuses).toEqual([...Array.from({ length: 10 }, () => 401), last]);
          }
        }));

      it('Invalid token: is 401, in the same words', async () => {
        refused(await withScheme(drf, 'Token', drfKey()), 401, 'token_invalid', 'Invalid token');
      });

      it('User inactive or deleted: is 401, in the same words, whether the token has expired or not', async () => {
        const user = await drf.createUser();
        const token = await drf.token(user.id);
        await drf.users.setActive(user.id, false);
        refused(await withScheme(drf, 'Token', token), 401, 'user_inactive', 'User inactive or deleted');
        drf.clock.advance(25 * DAY_MS);
        refused(await withScheme(drf, 'Token', token), 401, 'user_inactive', 'User inactive or deleted');
      });

      it('Token has expired: is 401, or 400 with expiredStatus, in the same words', async () => {
        const token = await drf.token();
        drf.clock.advance(25 * DAY_MS);
        refused(await withScheme(drf, 'Token', token), 400, 'token_expired', 'Token has expired');
        const other = await plain.token();
        plain.clock.advance(30 * DAY_MS);
        refused(await plain.get('/me', other), 401, 'token_expired', 'Token has expired');
      });

      it('A request without a token: is 401, unless the route says otherwise', async () => {
        refused(await drf.get('/me'), 401, 'token_missing', 'Authentication credentials were not provided');
        expect((await drf.get('/optional')).json).toEqual({ id: null });
        expect((await drf.get('/public', 'not a token')).json).toEqual({ public: true });
      });

      it('ExpiringToken: is the entity Token', async () => {
        const user = await plain.createUser();
        const { token } = await plain.tokens.issue(user.id);
        const row = await plain.dataSource.getRepository(Token).findOneByOrFail({ userId: user.id });
        expect(row).toEqual(token);
        expect(plain.tokens.expiryOf(row)).toEqual(new Date(plain.clock.now + 30 * DAY_MS));
      });

      it('One token a user: is what obtain-token keeps; login gives each client its own', async () => {
        const user = await drf.createUser();
        const [first, second] = [await obtain(drf, user.username), await obtain(drf, user.username)];
        expect(second.json.token).toBe(first.json.token);
        const [phone, laptop] = [await login(drf, user.username), await login(drf, user.username)];
        expect(new Set([first.json.token, phone.token, laptop.token]).size).toBe(3);
        await drf.post('/auth/logout', undefined, phone.token);
        refused(await drf.get('/me', phone.token), 401, 'token_invalid');
        expect((await drf.get('/me', laptop.token)).status).toBe(200);
        expect((await drf.get('/me', first.json.token)).status).toBe(200);
      });

      it('Keys in clear: are nowhere, those of imported tokens neither', async () => {
        const user = await drf.createUser();
        const key = drfKey();
        await drf.tokens.import([{ userId: user.id, key, created: new Date(drf.clock.now) }]);
        const { plainText } = await drf.tokens.issue(user.id);
        const dump = JSON.stringify(await drf.dump());
        const bytes = (text: string) => JSON.stringify([...Buffer.from(text)]);
        for (const token of [key, plainText]) {
          expect(dump).not.toContain(token);
          expect(dump).not.toContain(bytes(token).slice(1, -1));
        }
        expect(dump).not.toContain([...Buffer.from(key, 'hex')].join());
      });

      it('Live tokens: are imported, and expire when they would have expired', async () => {
        const user = await drf.createUser();
        const tokens = [
          { userId: user.id, key: drfKey(), created: new Date(drf.clock.now - 24 * DAY_MS) },
          { userId: user.id, key: drfKey(), created: new Date(drf.clock.now - 26 * DAY_MS) },
        ] as const;
        expect(await drf.tokens.import(tokens)).toBe(2);
        expect(await drf.tokens.import(tokens)).toBe(0);
        const [live, dead] = tokens.map(({ key }) => key);
        expect((await withScheme(drf, 'Token', live!)).json.user.username).toBe(user.username);
        refused(await withScheme(drf, 'Token', dead!), 400, 'token_expired');
        drf.clock.advance(DAY_MS);
        refused(await withScheme(drf, 'Token', live!), 400, 'token_expired');
      });
    });

    describe('A hand-written ExpiringTokenAuthentication', () => {
      /** Expects that tokens of an application are live for a day, to the millisecond. */
      async function livesForADay(app: TestApp): Promise<void> {
        const token = await app.token();
        app.clock.advance(DAY_MS - 1);
        expect((await app.get('/me', token)).status).toBe(200);
        app.clock.advance(1);
        refused(await app.get('/me', token), 401, 'token_expired');
      }

      it('timedelta(hours=24): is the lifespan 24h, alone or among options', async () => {
        await livesForADay(await environment.boot({ options: '24h' }));
        await livesForADay(await environment.boot({ options: { lifespan: '24h' } }));
      });

      it('TOKEN_EXPIRE_TIME: is a lifespan with its unit, and refused without one', async () => {
        await livesForADay(await environment.boot({ options: { lifespan: '1d' } }));
        await expect(start({ lifespan: '24' })).rejects.toThrow('lifespan: "24" is not allowed');
      });

      it('TOKEN_TTL: is a lifespan in milliseconds, not in seconds', async () => {
        await livesForADay(await environment.boot({ options: { lifespan: 86_400_000 } }));
        const short = await environment.boot({ options: { lifespan: 86_400 } });
        const token = await short.token();
        short.clock.advance(86_400);
        refused(await short.get('/me', token), 401, 'token_expired');
      });

      it("keyword = 'Bearer': is the default, and schemes takes others", async () => {
        expect((await withScheme(plain, 'Bearer', await plain.token())).status).toBe(200);
        const odd = await environment.boot({ options: { schemes: ['Key'] } });
        expect((await withScheme(odd, 'Key', await odd.token())).status).toBe(200);
        refused(await withScheme(odd, 'Bearer', await odd.token()), 401, 'token_missing');
      });

      it('Login renews created: with obtain renew', async () => {
        const app = await environment.boot({ options: { lifespan: '24h', secret: SECRET, obtain: 'renew' } });
        const { username } = await app.createUser();
        const first = (await obtain(app, username)).json;
        app.clock.advance(20 * HOUR_MS);
        expect((await obtain(app, username)).json).toMatchObject({ token: first.token, expiresAt: at(app, DAY_MS) });
        app.clock.advance(20 * HOUR_MS);
        expect((await app.get('/me', first.token)).status).toBe(200);
      });

      it('Login replaces an expired token: with obtain reuse, and no other', async () => {
        const app = await environment.boot({ options: { lifespan: '24h', secret: SECRET, obtain: 'reuse' } });
        const { username } = await app.createUser();
        const first = (await obtain(app, username)).json;
        app.clock.advance(DAY_MS - 1);
        expect((await obtain(app, username)).json).toMatchObject({ token: first.token, expiresAt: first.expiresAt });
        app.clock.advance(1);
        expect((await obtain(app, username)).json.token).not.toBe(first.token);
      });

      it('Login replaces every token: without a secret', async () => {
        const { username } = await plain.createUser();
        const first = (await obtain(plain, username)).json;
        const second = (await obtain(plain, username)).json;
        refused(await plain.get('/me', first.token), 401, 'token_invalid');
        expect((await plain.get('/me', second.token)).status).toBe(200);
      });

      it('Each request renews created: with idle, up to the lifespan', async () => {
        const app = await environment.boot({ options: { lifespan: '2h', idle: '30m' } });
        const used = await app.token();
        const unused = await app.token();
        for (let minutes = 20; minutes < 120; minutes += 20) {
          app.clock.advance(20 * MINUTE_MS);
          await use(app, used);
        }
        refused(await app.get('/me', unused), 401, 'token_expired');
        app.clock.advance(20 * MINUTE_MS);
        refused(await app.get('/me', used), 401, 'token_expired');
      });

      it('Many tokens a user: by login, each with a device of its own', async () => {
        const { username } = await plain.createUser();
        const logins = [await login(plain, username), await login(plain, username), await login(plain, username)];
        expect(new Set(logins.map(({ token }) => token)).size).toBe(3);
        for (const { token } of logins) expect((await plain.get('/auth/devices', token)).json).toHaveLength(3);
      });

      it('Tokens that never expire: are issued with the lifespan null', async () => {
        const user = await plain.createUser();
        const { plainText } = await plain.tokens.issue(user.id, { name: 'sensor 7', lifespan: null });
        plain.clock.advance(20 * 365 * DAY_MS);
        expect((await plain.get('/auth/token', plainText)).json).toMatchObject({ name: 'sensor 7', expiresAt: null });
      });

      it('A token for each new user: is issued after the user is created', async () => {
        const user = await plain.users.create(`new-${drfKey()}`, null);
        const { plainText } = await plain.tokens.issue(user.id);
        expect((await plain.get('/me', plainText)).json.user.id).toBe(user.id);
      });

      it('request.auth.delete(): is logout', async () => {
        const { username } = await plain.createUser();
        const { token } = await login(plain, username);
        expect((await plain.post('/auth/logout', undefined, token)).status).toBe(204);
        refused(await plain.get('/me', token), 401, 'token_invalid');
      });

      it('Token.objects.filter(user=user).delete(): is logout-all, or revokeAll', async () => {
        const user = await plain.createUser();
        const tokens = [await plain.token(user.id), await plain.token(user.id)];
        expect((await plain.post('/auth/logout-all', undefined, tokens[0])).json).toEqual({ revoked: 2 });
        for (const token of tokens) refused(await plain.get('/me', token), 401, 'token_invalid');
        const another = await plain.token(user.id);
        expect(await plain.tokens.revokeAll(user.id)).toBe(1);
        refused(await plain.get('/me', another), 401, 'token_invalid');
      });

      it('Deletes an expired token: not before it is pruned, and no refusal writes', async () => {
        const app = await environment.boot({ options: '24h' });
        const user = await app.createUser();
        const token = await app.token(user.id);
        const rows = async () => (await app.dump()).filter(({ user_id }) => user_id === user.id);
        app.clock.advance(DAY_MS);
        const before = await rows();
        for (let request = 0; request < 3; request++) refused(await app.get('/me', token), 401, 'token_expired');
        expect(await rows()).toEqual(before);
        app.clock.advance(8 * DAY_MS);
        expect(await app.tokens.prune()).toBeGreaterThan(0);
        refused(await app.get('/me', token), 401, 'token_invalid');
      });

      it('A changed password: revokes all tokens, or all but those of one device', async () => {
        const user = await plain.createUser();
        const [here, there] = [await login(plain, user.username), await login(plain, user.username)];
        await plain.users.changePassword(user.id, 'another one', { except: here.deviceId });
        expect((await plain.get('/me', here.token)).status).toBe(200);
        refused(await plain.get('/me', there.token), 401, 'token_invalid');
        await plain.users.changePassword(user.id, 'a third one');
        refused(await plain.get('/me', here.token), 401, 'token_invalid');
      });

      it('Live tokens of your own model: are imported, several of a user and each with a lifespan of its own', async () => {
        const user = await drf.createUser();
        const [short, endless] = [drfKey(), drfKey()];
        const created = new Date(drf.clock.now);
        await drf.tokens.import([
          { userId: user.id, key: short, created, lifespan: '24h', name: 'telephone' },
          { userId: user.id, key: endless, created, lifespan: null, name: 'sensor 7' },
        ]);
        drf.clock.advance(DAY_MS);
        refused(await withScheme(drf, 'Token', short), 400, 'token_expired');
        drf.clock.advance(365 * DAY_MS);
        expect((await withScheme(drf, 'Token', endless)).json.token.name).toBe('sensor 7');
      });
    });

    describe('drf-jwt-devices', () => {
      const refresh = (app: TestApp, token: string) =>
        app.send('/auth/refresh', { method: 'POST', headers: [['Permanent-Token', token]] });

      it('JWT_PERMANENT_TOKEN_AUTH: is refresh, off by default', async () => {
        const { username } = await devices.createUser();
        expect(await login(devices, username)).toMatchObject({ refreshToken: expect.any(String) });
        const other = await plain.createUser();
        expect(await login(plain, other.username)).not.toHaveProperty('refreshToken');
      });

      it('JWT_PERMANENT_TOKEN_EXPIRATION_DELTA: is refresh.idle, 7 days by default, up to refresh.lifespan', async () => {
        const { username } = await devices.createUser();
        const unused = await login(devices, username);
        expect(unused.refreshExpiresAt).toBe(at(devices, 7 * DAY_MS));
        let current = await login(devices, username);
        for (let day = 6; day < 90; day += 6) {
          devices.clock.advance(6 * DAY_MS);
          const { status, json } = await refresh(devices, current.refreshToken);
          expect(status).toBe(200);
          current = json;
        }
        refused(await refresh(devices, unused.refreshToken), 401, 'refresh_invalid');
        devices.clock.advance(6 * DAY_MS);
        refused(await refresh(devices, current.refreshToken), 401, 'refresh_invalid');

        const endless = await environment.boot({ options: { refresh: { lifespan: null, header: 'Permanent-Token' } } });
        const user = await endless.createUser();
        let kept = await login(endless, user.username);
        for (let day = 0; day < 120; day += 6) {
          endless.clock.advance(6 * DAY_MS);
          kept = (await refresh(endless, kept.refreshToken)).json;
        }
        expect((await endless.get('/me', kept.token)).status).toBe(200);
      });

      it('JWT_PERMANENT_TOKEN_EXPIRATION_ACCURACY: is lastUsedAccuracy, half an hour by default', async () => {
        const token = await devices.token();
        const firstUse = at(devices);
        expect(await use(devices, token)).toBe(firstUse);
        devices.clock.advance(30 * MINUTE_MS - 1);
        expect(await use(devices, token)).toBe(firstUse);
        devices.clock.advance(1);
        expect(await use(devices, token)).toBe(at(devices));
      });

      it('JWT_EXPIRATION_DELTA: is lifespan, an hour by default with refresh', async () => {
        const { username } = await devices.createUser();
        const { token, expiresIn } = await login(devices, username);
        expect(expiresIn).toBe(3600);
        devices.clock.advance(HOUR_MS);
        refused(await devices.get('/me', token), 401, 'token_expired');
      });

      it('JWT_AUTH_HEADER_PREFIX: is schemes', async () => {
        expect((await withScheme(devices, 'JWT', await devices.token())).status).toBe(200);
        refused(await withScheme(plain, 'JWT', await plain.token()), 401, 'token_missing');
      });

      it('JWT_AUTH_COOKIE: no cookie is set or read', async () => {
        const { username } = await devices.createUser();
        const answer = await devices.login(username);
        expect(answer.headers).not.toHaveProperty('set-cookie');
        const headers = [['Cookie', `token=${answer.json.token}; JWT=${answer.json.token}`]] as const;
        refused(await devices.send('/me', { headers }), 401, 'token_missing');
        await notAnOption('cookie', 'JWT');
      });

      it('JWT_DEVICES_PAYLOAD_HANDLER: a token says nothing of its user', async () => {
        const user = await devices.createUser('jane.doe');
        const token = await devices.token(user.id);
        const bytes = Buffer.from(token.slice('ext_'.length), 'base64url');
        for (const text of [token, bytes.toString('latin1'), bytes.toString('hex')]) {
          expect(text).not.toContain(user.username);
          expect(text).not.toContain(user.id.replaceAll('-', ''));
        }
        expect((await devices.get('/me', token)).json).toMatchObject({
          user: { username: 'jane.doe' },
          token: { deviceId: expect.any(String) },
        });
        await notAnOption('payloadHandler', () => ({}));
      });

      it("JWT_DEVICES_RESPONSE_PAYLOAD_HANDLER: is a route of the application's own in place of login", async () => {
        const app = await environment.boot({
          options: { routes: ['logout', 'devices'] },
          controllers: [SessionsController],
        });
        const user = await app.createUser();
        SessionsController.userIds.push(user.id);
        expect((await app.login(user.username)).status).toBe(404);
        const { json } = await app.post('/sessions');
        expect(json).toEqual({ expiry: at(app, 10 * HOUR_MS), token: expect.any(String) });
        expect((await app.post('/auth/logout', undefined, json.token)).status).toBe(204);
      });

      it('obtain_jwt_token: is login, which answers both tokens and the device', async () => {
        const { username } = await devices.createUser();
        expect(await login(devices, username)).toEqual({
          token: expect.any(String),
          tokenType: 'Bearer',
          expiresIn: 3600,
          expiresAt: at(devices, HOUR_MS),
          deviceId: expect.any(String),
          refreshToken: expect.any(String),
          refreshExpiresIn: (7 * DAY_MS) / 1000,
          refreshExpiresAt: at(devices, 7 * DAY_MS),
        });
      });

      it('X-Device-Model: names the device, else the user agent does', async () => {
        const { username } = await devices.createUser();
        const from = async (...headers: [string, string][]) => {
          const body = { username, password: PASSWORD };
          const { json } = await devices.send('/auth/login', { method: 'POST', headers, body });
          return (await devices.get('/auth/devices', json.token)).json.find((device: any) => device.current);
        };
        const agent: [string, string] = ['User-Agent', 'App/1.0'];
        expect(await from(agent, ['X-Device-Model', 'Pixel 9'])).toMatchObject({
          name: 'Pixel 9',
          userAgent: 'App/1.0',
        });
        expect(await from(agent)).toMatchObject({ name: 'App/1.0', userAgent: 'App/1.0' });
      });

      it('device_refresh_token: is refresh, which takes the header of that name and gives two new tokens', async () => {
        const { username } = await devices.createUser();
        const first = await login(devices, username);
        devices.clock.advance(2 * HOUR_MS);
        const { status, json: second } = await refresh(devices, first.refreshToken);
        expect(status).toBe(200);
        expect(second).toMatchObject({ deviceId: first.deviceId, expiresIn: 3600 });
        expect(new Set([first.token, first.refreshToken, second.token, second.refreshToken]).size).toBe(4);
        expect((await devices.get('/me', second.token)).status).toBe(200);

        const standard = await environment.boot({ options: { refresh: {} }, clock: devices.clock });
        const headers = [['Refresh-Token', second.refreshToken]] as const;
        expect((await standard.send('/auth/refresh', { method: 'POST', headers })).status).toBe(200);
      });

      it('A stolen permanent token: ends the device when it is used again', async () => {
        const user = await devices.createUser();
        const first = await login(devices, user.username);
        const { json: second } = await refresh(devices, first.refreshToken);
        devices.clock.advance(30_000);
        refused(await refresh(devices, first.refreshToken), 401, 'refresh_invalid');
        refused(await refresh(devices, second.refreshToken), 401, 'refresh_invalid');
        refused(await devices.get('/me', second.token), 401, 'token_invalid');
        expect(await devices.tokens.list(user.id)).toEqual([]);
      });

      it('Permanent token has expired.: is 401 refresh_invalid, and the device is gone', async () => {
        const user = await devices.createUser();
        const { refreshToken } = await login(devices, user.username);
        devices.clock.advance(7 * DAY_MS);
        refused(await refresh(devices, refreshToken), 401, 'refresh_invalid', 'Invalid refresh token');
        expect(await devices.tokens.list(user.id)).toEqual([]);
      });

      it('PermittedHeadersMiddleware: is built in', async () => {
        const { username } = await devices.createUser();
        const { token, refreshToken } = await login(devices, username);
        const headers = [
          ['Authorization', `Bearer ${token}`],
          ['Permanent-Token', refreshToken],
        ] as const;
        for (const path of ['/me', '/auth/token', '/auth/devices']) {
          refused(await devices.send(path, { headers }), 400, 'request_invalid');
        }
        const body = { username, password: PASSWORD };
        refused(await devices.send('/auth/login', { method: 'POST', headers, body }), 400, 'request_invalid');
        expect((await refresh(devices, refreshToken)).status).toBe(200);
      });

      it('GET /devices/: is the list of devices', async () => {
        const { username } = await devices.createUser();
        const [phone, laptop] = [await login(devices, username), await login(devices, username)];
        const { json } = await devices.get('/auth/devices', phone.token);
        expect(json).toHaveLength(2);
        expect(json.map(({ id, current }: any) => [id, current])).toEqual(
          expect.arrayContaining([
            [phone.deviceId, true],
            [laptop.deviceId, false],
          ]),
        );
        for (const device of json) {
          expect(Object.keys(device).toSorted()).toEqual(
            ['createdAt', 'current', 'expiresAt', 'id', 'lastUsedAt', 'name', 'userAgent'].toSorted(),
          );
        }
      });

      it('DELETE /devices/<id>/: is 204, and 404 for a device of another user', async () => {
        const { username } = await devices.createUser();
        const [phone, laptop] = [await login(devices, username), await login(devices, username)];
        const remove = (id: string, token: string) =>
          devices.send(`/auth/devices/${id}`, { method: 'DELETE', headers: [['Authorization', `Bearer ${token}`]] });
        const stranger = await devices.token();
        refused(await remove(laptop.deviceId, stranger), 404, 'device_not_found');
        expect((await remove(laptop.deviceId, phone.token)).status).toBe(204);
        refused(await devices.get('/me', laptop.token), 401, 'token_invalid');
        refused(await refresh(devices, laptop.refreshToken), 401, 'refresh_invalid');
      });

      it('device_logout: is logout, which ends both tokens of the device in use and no other', async () => {
        const { username } = await devices.createUser();
        const [phone, laptop] = [await login(devices, username), await login(devices, username)];
        const headers = [
          ['Authorization', `Bearer ${phone.token}`],
          ['Device-Id', laptop.deviceId],
        ] as const;
        expect((await devices.send('/auth/logout', { method: 'POST', headers })).status).toBe(204);
        refused(await devices.get('/me', phone.token), 401, 'token_invalid');
        refused(await refresh(devices, phone.refreshToken), 401, 'refresh_invalid');
        expect((await devices.get('/me', laptop.token)).status).toBe(200);
      });

      it('jwt_secret: tokens of a device that is logged out are refused at once', async () => {
        const user = await devices.createUser();
        const first = await login(devices, user.username);
        const { json: second } = await refresh(devices, first.refreshToken);
        expect((await devices.get('/me', first.token)).status).toBe(200);
        expect(await devices.tokens.revoke(user.id, first.deviceId)).toBe(true);
        for (const { token } of [first, second]) refused(await devices.get('/me', token), 401, 'token_invalid');
      });

      it('PermanentTokenAuthentication: is the guard', async () => {
        refused(await devices.get('/me'), 401, 'token_missing');
        expect((await devices.get('/me', await devices.token())).status).toBe(200);
      });

      it('Live JWTs and permanent tokens: are refused, an imported one at the refresh too', async () => {
        const user = await devices.createUser();
        const jwt = [{ alg: 'HS256', typ: 'JWT' }, { user_id: 1, device_id: '1' }, {}]
          .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
          .join('.');
        refused(await withScheme(devices, 'JWT', jwt), 401, 'token_invalid');
        const permanentToken = drfKey();
        refused(await refresh(devices, permanentToken), 401, 'refresh_invalid');
        await devices.tokens.import([{ userId: user.id, key: permanentToken, created: new Date(devices.clock.now) }]);
        refused(await refresh(devices, permanentToken), 401, 'refresh_invalid');
      });
    });

    describe('django-rest-knox', () => {
      it('SECURE_HASH_ALGORITHM: is SHA-256, and no option', async () => {
        const user = await plain.createUser();
        const { plainText } = await plain.tokens.issue(user.id);
        const stored = (await plain.dump())
          .filter((row) => row.user_id === user.id)
          .map(({ digest }) => Buffer.from(digest as Buffer).toString('hex'));
        expect(stored).toEqual([sha256(plainText)]);
        await notAnOption('hashAlgorithm', 'sha512');
      });

      it('AUTH_TOKEN_CHARACTER_LENGTH: is fixed, and no option', async () => {
        expect(await plain.token()).toMatch(/^ext_[A-Za-z0-9_-]{70}$/);
        await notAnOption('tokenLength', 64);
      });

      it('TOKEN_TTL: is lifespan, null for ever, and a change applies to tokens already issued', async () => {
        const tenHours = await environment.boot({ options: { lifespan: '10h' } });
        const { clock } = tenHours;
        const [endless, oneHour] = await Promise.all(
          [null, '1h'].map((lifespan) => environment.boot({ options: { lifespan }, clock })),
        );
        const token = await tenHours.token();
        clock.advance(HOUR_MS);
        refused(await oneHour!.get('/me', token), 401, 'token_expired');
        clock.advance(9 * HOUR_MS);
        refused(await tenHours.get('/me', token), 401, 'token_expired');
        clock.advance(20 * 365 * DAY_MS);
        expect((await endless!.get('/me', token)).status).toBe(200);
        expect((await endless!.get('/auth/token', token)).json.expiresAt).toBeNull();
      });

      it("USER_SERIALIZER: is a route of the application's own; a login answers no user", async () => {
        const { username } = await plain.createUser();
        const answer = await login(plain, username);
        expect(Object.keys(answer)).not.toContain('user');
        expect((await plain.get('/me', answer.token)).json.user.username).toBe(username);
        await notAnOption('userSerializer', () => ({}));
      });

      it('TOKEN_LIMIT_PER_USER: is limit, which rejects the login or evicts the device unused longest', async () => {
        const rejecting = await environment.boot({ options: { limit: { perUser: 2, policy: 'reject' } } });
        const user = await rejecting.createUser();
        await rejecting.tokens.issue(user.id, { lifespan: null });
        const { token } = await login(rejecting, user.username);
        refused(await rejecting.login(user.username), 403, 'limit_reached', 'Too many devices');
        await rejecting.post('/auth/logout', undefined, token);
        expect((await rejecting.login(user.username)).status).toBe(200);

        const evicting = await environment.boot({ options: { limit: { perUser: 2, policy: 'evict' } } });
        const { username } = await evicting.createUser();
        const tokens: string[] = [];
        for (let device = 0; device < 3; device++) {
          tokens.push((await login(evicting, username)).token);
          evicting.clock.advance(HOUR_MS);
        }
        const statuses = await Promise.all(tokens.map(async (each) => (await evicting.get('/me', each)).status));
        expect(statuses).toEqual([401, 200, 200]);
      });

      it('AUTO_REFRESH: is idle without a lifespan', async () => {
        const app = await environment.boot({ options: { idle: '10h', lifespan: null } });
        const token = await app.token();
        for (let times = 0; times < 10; times++) {
          app.clock.advance(9 * HOUR_MS);
          await use(app, token);
        }
        expect((await app.get('/auth/token', token)).json.expiresAt).toBe(at(app, 10 * HOUR_MS));
        app.clock.advance(10 * HOUR_MS);
        refused(await app.get('/me', token), 401, 'token_expired');
      });

      it('AUTO_REFRESH_MAX_TTL: is lifespan beside idle', async () => {
        const app = await environment.boot({ options: { idle: '10h', lifespan: '24h' } });
        const token = await app.token();
        for (let times = 0; times < 2; times++) {
          app.clock.advance(9 * HOUR_MS);
          await use(app, token);
        }
        app.clock.advance(6 * HOUR_MS - 1);
        expect((await app.get('/me', token)).status).toBe(200);
        app.clock.advance(1);
        refused(await app.get('/me', token), 401, 'token_expired');
      });

      it('MIN_REFRESH_INTERVAL: is lastUsedAccuracy', async () => {
        const app = await environment.boot({ options: { idle: '10h', lastUsedAccuracy: '60s' } });
        const token = await app.token();
        const firstUse = at(app);
        expect(await use(app, token)).toBe(firstUse);
        app.clock.advance(MINUTE_MS - 1);
        expect(await use(app, token)).toBe(firstUse);
        app.clock.advance(1);
        expect(await use(app, token)).toBe(at(app));
      });

      it('AUTH_HEADER_PREFIX: is schemes', async () => {
        const app = await environment.boot({ options: { schemes: ['Token'] } });
        expect((await withScheme(app, 'Token', await app.token())).status).toBe(200);
        refused(await withScheme(app, 'Bearer', await app.token()), 401, 'token_missing');
      });

      it('EXPIRY_DATETIME_FORMAT: is ISO 8601 in UTC, with seconds from now beside it', async () => {
        const { username } = await plain.createUser();
        const { expiresAt, expiresIn } = await login(plain, username);
        expect(expiresAt).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
        expect(Date.parse(expiresAt) - plain.clock.now).toBe(expiresIn * 1000);
        await notAnOption('dateFormat', 'YYYY');
      });

      it('TOKEN_MODEL: is tokenEntity', async () => {
        const user = await able.createUser();
        const { token } = await able.tokens.issue(user.id);
        await able.dataSource.getRepository(AbleToken).update({ id: token.id }, { abilities: 'server:list' });
        expect(await able.dataSource.getRepository(AbleToken).findOneByOrFail({ id: token.id })).toMatchObject({
          userId: user.id,
          abilities: 'server:list',
        });
      });

      it('TOKEN_PREFIX: is prefix', async () => {
        const app = await environment.boot({ options: { prefix: 'acme_' } });
        const token = await app.token();
        expect(token).toMatch(/^acme_[A-Za-z0-9_-]{70}$/);
        expect((await app.get('/me', token)).status).toBe(200);
        await expect(start({ prefix: '' })).rejects.toThrow('prefix: "" is not allowed');
      });

      it('TokenAuthentication: is the guard', async () => {
        refused(await plain.get('/me'), 401, 'token_missing');
        expect((await plain.get('/me', await plain.token())).status).toBe(200);
      });

      it('LoginView: is login with the credentials as JSON, or issue behind another way in', async () => {
        const user = await plain.createUser();
        const basic = Buffer.from(`${user.username}:${PASSWORD}`).toString('base64');
        const headers = [['Authorization', `Basic ${basic}`]] as const;
        refused(await plain.send('/auth/login', { method: 'POST', headers }), 400, 'validation_failed');
        expect(await login(plain, user.username)).toMatchObject({ expiresAt: at(plain, 30 * DAY_MS) });
        const { plainText } = await plain.tokens.issue(user.id);
        expect((await plain.get('/me', plainText)).json.user.username).toBe(user.username);
      });

      it('LogoutView: is logout, 204', async () => {
        const token = await plain.token();
        expect((await plain.post('/auth/logout', undefined, token)).status).toBe(204);
        refused(await plain.get('/me', token), 401, 'token_invalid');
      });

      it('LogoutAllView: is logout-all, which counts, and can spare the device in use', async () => {
        const user = await plain.createUser();
        const [here, there] = [await plain.token(user.id), await plain.token(user.id)];
        const { status, json } = await plain.post('/auth/logout-all', { keepCurrent: true }, here);
        expect({ status, json }).toEqual({ status: 200, json: { revoked: 1 } });
        refused(await plain.get('/me', there), 401, 'token_invalid');
        expect((await plain.post('/auth/logout-all', undefined, here)).json).toEqual({ revoked: 1 });
        refused(await plain.get('/me', here), 401, 'token_invalid');
      });

      it('AuthToken.objects.create(user, expiry): is issue with a lifespan', async () => {
        const user = await plain.createUser();
        const { token, plainText } = await plain.tokens.issue(user.id, { lifespan: '10m' });
        expect(token).toMatchObject({ userId: user.id, lifespan: 10 * MINUTE_MS });
        plain.clock.advance(10 * MINUTE_MS);
        refused(await plain.get('/me', plainText), 401, 'token_expired');
      });

      it('Invalid token.: is not what an expired token hears', async () => {
        const token = await plain.token();
        plain.clock.advance(30 * DAY_MS);
        refused(await plain.get('/me', token), 401, 'token_expired');
        refused(await plain.get('/me', 'unknown'), 401, 'token_invalid');
      });

      it('Deletes expired tokens: by prune, also those of users who stay away', () =>
        alone(environment, async (own) => {
          const app = await own.boot({ options: { lifespan: '10h', prune: { retention: '1h' } } });
          const [gone, kept] = [await app.createUser(), await app.createUser()];
          await app.tokens.issue(gone.id);
          app.clock.advance(HOUR_MS);
          await app.tokens.issue(kept.id);
          app.clock.advance(10 * HOUR_MS + 1);
          await app.tokens.prune();
          const { manager } = app.dataSource;
          expect(await manager.countBy(Token, { userId: gone.id })).toBe(0);
          expect(await manager.countBy(Token, { userId: kept.id })).toBe(1);
        }));

      it('token_key: the token begins with the id of its row, and that is all of it in the table', async () => {
        const user = await plain.createUser();
        const { token, plainText } = await plain.tokens.issue(user.id);
        const bytes = Buffer.from(plainText.slice('ext_'.length), 'base64url');
        expect(bytes.subarray(0, 16).toString('hex')).toBe(token.id.replaceAll('-', ''));
        const dump = JSON.stringify((await plain.dump()).filter((row) => row.user_id === user.id));
        expect(dump).not.toContain(plainText.slice('ext_'.length + 22, -6));
        expect(dump).not.toContain([...bytes.subarray(16, 48)].join());
      });

      it('Live tokens of knox: are refused, and their digests cannot be imported', async () => {
        const user = await sanctum.users.create(`knox-${drfKey()}`, null);
        const knoxToken = randomBytes(32).toString('hex');
        const digest = createHash('sha512').update(knoxToken).digest('hex');
        const created = new Date(sanctum.clock.now);
        await expect(sanctum.tokens.import([{ userId: user.id, digest, created }])).rejects.toThrow('digest');
        refused(await sanctum.get('/me', knoxToken), 401, 'token_invalid');
      });
    });

    describe('Laravel Sanctum', () => {
      const loginByEmail = (body: object) =>
        sanctum.send('/auth/login', { method: 'POST', body: { password: PASSWORD, ...body } });

      it('expiration: is lifespan in milliseconds, 30 days by default', async () => {
        const inMinutes = 60;
        const app = await environment.boot({ options: { lifespan: inMinutes * MINUTE_MS } });
        const token = await app.token();
        app.clock.advance(HOUR_MS - 1);
        expect((await app.get('/me', token)).status).toBe(200);
        app.clock.advance(1);
        refused(await app.get('/me', token), 401, 'token_expired');
        expect((await plain.get('/auth/token', await plain.token())).json.expiresAt).toBe(at(plain, 30 * DAY_MS));
      });

      it("expires_at: is the lifespan of issue, in place of the module's, shorter or longer", async () => {
        const user = await plain.createUser();
        const week = (await plain.tokens.issue(user.id, { lifespan: '7d' })).plainText;
        const year = (await plain.tokens.issue(user.id, { lifespan: '365d' })).plainText;
        plain.clock.advance(7 * DAY_MS);
        refused(await plain.get('/me', week), 401, 'token_expired');
        plain.clock.advance(300 * DAY_MS);
        expect((await plain.get('/me', year)).status).toBe(200);
      });

      it('token_prefix: is prefix', async () => {
        const app = await environment.boot({ options: { prefix: 'myapp_' } });
        expect(await app.token()).toMatch(/^myapp_/);
        expect(await plain.token()).toMatch(/^ext_/);
      });

      it('last_used_at: is lastUsedAt, as coarse as lastUsedAccuracy', async () => {
        const user = await plain.createUser();
        const { plainText } = await plain.tokens.issue(user.id);
        expect((await plain.tokens.list(user.id))[0]!.lastUsedAt).toBeNull();
        const firstUse = at(plain);
        expect(await use(plain, plainText)).toBe(firstUse);
        plain.clock.advance(MINUTE_MS);
        expect(await use(plain, plainText)).toBe(firstUse);
        expect((await plain.tokens.list(user.id))[0]!.lastUsedAt).toEqual(new Date(firstUse));
      });

      it('stateful: is no option, and a cookie is not read', async () => {
        const headers = [['Cookie', `laravel_session=${await plain.token()}`]] as const;
        refused(await plain.send('/me', { headers }), 401, 'token_missing');
        await notAnOption('stateful', ['localhost']);
      });

      it('GET /sanctum/csrf-cookie: is not there', async () => {
        const { status, headers } = await plain.get('/sanctum/csrf-cookie');
        expect(status).toBe(404);
        expect(headers).not.toHaveProperty('set-cookie');
      });

      it('auth:sanctum: is the guard', async () => {
        refused(await sanctum.get('/me'), 401, 'token_missing');
        expect((await sanctum.get('/me', await sanctum.token())).status).toBe(200);
      });

      it('createToken($name): is issue, and leaves the other tokens alone', async () => {
        const user = await plain.createUser();
        const [first, second] = [
          await plain.tokens.issue(user.id, { name: 'first' }),
          await plain.tokens.issue(user.id, { name: 'second' }),
        ];
        for (const { plainText, token } of [first, second]) {
          expect((await plain.get('/auth/token', plainText)).json.name).toBe(token.name);
        }
      });

      it('plainTextToken: is plainText, and nothing shows it again', async () => {
        const user = await plain.createUser();
        const { plainText, token } = await plain.tokens.issue(user.id);
        const shown = JSON.stringify([
          token,
          await plain.tokens.list(user.id),
          (await plain.get('/me', plainText)).json,
          (await plain.get('/auth/devices', plainText)).json,
        ]);
        expect(shown).not.toContain(plainText);
        expect(shown).not.toContain('digest');
      });

      it('device_name: is deviceName of the login, beside an email and a password', async () => {
        const { username: email } = await sanctum.createUser();
        const { status, json } = await loginByEmail({ email, deviceName: "Ann's telephone" });
        expect(status).toBe(200);
        expect((await sanctum.get('/auth/token', json.token)).json.name).toBe("Ann's telephone");
        refused(await loginByEmail({ username: email }), 400, 'validation_failed', 'email must be a string');
      });

      it("Abilities: are a column and a guard of the application's own", async () => {
        const user = await able.createUser();
        const may = await able.tokens.issue(user.id);
        const mayNot = await able.tokens.issue(user.id);
        const changes = { abilities: 'server:list server:update' };
        await able.dataSource.getRepository(AbleToken).update({ id: may.token.id }, changes);
        expect((await able.post('/servers', {}, may.plainText)).json).toEqual({ updated: true });
        expect((await able.post('/servers', {}, mayNot.plainText)).status).toBe(403);
        expect((await able.get('/me', mayNot.plainText)).status).toBe(200);
        expect(Object.keys((await plain.get('/auth/token', await plain.token())).json)).not.toContain('abilities');
      });

      it('$user->tokens: is list', async () => {
        const user = await plain.createUser();
        const { plainText } = await plain.tokens.issue(user.id, { name: 'import' });
        expect(await plain.tokens.list(user.id)).toMatchObject([{ name: 'import' }]);
        expect((await plain.get('/auth/devices', plainText)).json).toMatchObject([{ name: 'import', current: true }]);
      });

      it('currentAccessToken()->delete(): is logout, or revoke', async () => {
        const user = await plain.createUser();
        const [first, second] = [await plain.tokens.issue(user.id), await plain.tokens.issue(user.id)];
        expect((await plain.post('/auth/logout', undefined, first.plainText)).status).toBe(204);
        refused(await plain.get('/me', first.plainText), 401, 'token_invalid');
        const { token } = (await plain.get('/me', second.plainText)).json;
        expect(await plain.tokens.revoke(user.id, token.deviceId)).toBe(true);
        refused(await plain.get('/me', second.plainText), 401, 'token_invalid');
      });

      it('tokens()->delete(): is logout-all, or revokeAll', async () => {
        const user = await plain.createUser();
        const token = await plain.token(user.id);
        await plain.token(user.id);
        expect((await plain.post('/auth/logout-all', undefined, token)).json).toEqual({ revoked: 2 });
        await plain.token(user.id);
        expect(await plain.tokens.revokeAll(user.id)).toBe(1);
        expect(await plain.tokens.list(user.id)).toEqual([]);
      });

      it("tokens()->where('id', $id)->delete(): is revoke, or DELETE of the device", async () => {
        const user = await plain.createUser();
        const [here, first, second] = await Promise.all([1, 2, 3].map(() => plain.tokens.issue(user.id)));
        const { status } = await plain.send(`/auth/devices/${first!.token.deviceId}`, {
          method: 'DELETE',
          headers: [['Authorization', `Bearer ${here!.plainText}`]],
        });
        expect(status).toBe(204);
        expect(await plain.tokens.revoke(user.id, second!.token.deviceId)).toBe(true);
        expect((await plain.tokens.list(user.id)).map(({ id }) => id)).toEqual([here!.token.deviceId]);
      });

      it('sanctum:prune-expired --hours=24: is prune.retention, and prune to do it at once', () =>
        alone(environment, async (own) => {
          const app = await own.boot({ options: { lifespan: '1h', prune: { retention: '24h' } } });
          const token = await app.token();
          app.clock.advance(25 * HOUR_MS - 1);
          await app.tokens.prune();
          refused(await app.get('/me', token), 401, 'token_expired');
          app.clock.advance(2);
          await app.tokens.prune();
          refused(await app.get('/me', token), 401, 'token_invalid');

          const manual = await own.boot({ options: { prune: false } });
          await manual.token();
          manual.clock.advance(37 * DAY_MS + 1);
          expect(await manual.tokens.prune()).toBe(1);
        }));

      it('usePersonalAccessTokenModel: is tokenEntity', async () => {
        const token = await able.token();
        expect((await able.get('/me', token)).json.token).toHaveProperty('abilities', null);
        await expect(start({ tokenEntity: class Other {} })).rejects.toThrow('extends Token');
      });

      it("authenticateAccessTokensUsing: is a guard of the application's own, which can only refuse", async () => {
        const user = await able.createUser();
        const { plainText } = await able.tokens.issue(user.id);
        expect((await able.post('/servers', {}, plainText)).status).toBe(403);
        able.clock.advance(30 * DAY_MS);
        refused(await able.post('/servers', {}, plainText), 401, 'token_expired');
      });

      it('getAccessTokenFromRequestUsing: the token is read from the header alone', async () => {
        const token = await plain.token();
        refused(await plain.get(`/me?access_token=${token}`), 401, 'token_missing');
        refused(await plain.send('/me', { headers: [['X-Api-Token', token]] }), 401, 'token_missing');
        refused(await plain.post('/me', { access_token: token }), 401, 'token_missing');
      });

      it('tokenable: one store can have users of several classes, told apart by their ids', async () => {
        const app = await environment.boot({ options: { users: Owners }, controllers: [WhoAmIController] });
        const admin = (await app.tokens.issue('admin:7')).plainText;
        const customer = (await app.login('customer:7', 'any')).json.token;
        expect((await app.get('/whoami', admin)).json).toEqual({ kind: 'an administrator' });
        expect((await app.get('/whoami', customer)).json).toEqual({ kind: 'a customer' });
      });

      it('Sanctum::actingAs: is issue, or another guard', async () => {
        expect((await plain.get('/me', await plain.token())).status).toBe(200);
        const module = await Test.createTestingModule({ controllers: [WhoAmIController] })
          .overrideGuard(ExpiringTokenGuard)
          .useValue({
            canActivate(context: ExecutionContext) {
              context.switchToHttp().getRequest<{ user: unknown }>().user = new Customer(7);
              return true;
            },
          })
          .compile();
        const nest = module.createNestApplication();
        await nest.listen(0, '127.0.0.1');
        const answer = await fetch(new URL('/whoami', await nest.getUrl()));
        expect(await answer.json()).toEqual({ kind: 'a customer' });
        await nest.close();
      });

      it('Unauthenticated.: is 401 with a code that says what is wrong', async () => {
        const user = await plain.createUser();
        const { plainText } = await plain.tokens.issue(user.id, { lifespan: '1h' });
        refused(await plain.get('/me'), 401, 'token_missing');
        refused(await plain.get('/me', 'unknown'), 401, 'token_invalid');
        plain.clock.advance(HOUR_MS);
        refused(await plain.get('/me', plainText), 401, 'token_expired');
        await plain.users.setActive(user.id, false);
        refused(await plain.get('/me', plainText), 401, 'user_inactive');
      });

      it('Live tokens of Sanctum: are imported by their digests, and presented with the number or without', async () => {
        const user = await sanctum.createUser();
        const created = new Date(sanctum.clock.now - DAY_MS);
        const usual = sanctumToken();
        const prefixed = sanctumToken('myapp_');
        const week = sanctumToken();
        const tokens = [
          { userId: user.id, digest: usual.digest, created, name: 'telephone', lastUsedAt: created },
          { userId: user.id, digest: prefixed.digest, created },
          { userId: user.id, digest: week.digest, created, lifespan: '7d' },
        ] as const;
        expect(await sanctum.tokens.import(tokens)).toBe(3);
        expect(await sanctum.tokens.import(tokens)).toBe(0);
        for (const { plainText, secret } of [usual, prefixed, week]) {
          for (const presented of [plainText, secret]) {
            expect((await sanctum.get('/me', presented)).json.user?.username).toBe(user.username);
          }
        }
        expect((await sanctum.get('/auth/token', usual.plainText)).json).toMatchObject({
          name: 'telephone',
          createdAt: created.toISOString(),
          expiresAt: new Date(created.getTime() + 30 * DAY_MS).toISOString(),
        });
        refused(await sanctum.get('/me', sanctumToken().plainText), 401, 'token_invalid');
        sanctum.clock.advance(6 * DAY_MS);
        refused(await sanctum.get('/me', week.plainText), 401, 'token_expired');
        expect((await sanctum.get('/me', usual.plainText)).status).toBe(200);
      });
    });
  });
});

describe('Taking users along', () => {
  @Entity('django_user')
  class DjangoUser {
    @PrimaryColumn('integer')
    id: number;

    @Column('varchar', { length: 150, unique: true })
    username: string;

    @Column('varchar', { length: 128, nullable: true })
    password: string | null;
  }

  /** A table as Django has it, with hashes as Django makes them by default. */
  const djangoUsers = new Map<string, { id: number; password: string }>();

  function djangoHash(password: string): string {
    const salt = randomBytes(12).toString('hex');
    return `pbkdf2_sha256$1000$${salt}$${pbkdf2Sync(password, salt, 1000, 32, 'sha256').toString('base64')}`;
  }

  @Injectable()
  class DjangoUsers implements UserStore<{ id: number }> {
    findById(id: string) {
      return Promise.resolve([...djangoUsers.values()].find((user) => String(user.id) === id) ?? null);
    }

    validateCredentials({ username, password }: Credentials) {
      const user = djangoUsers.get(username);
      const [, iterations = '1000', salt = '', stored = ''] = user?.password.split('$') ?? [];
      const expected = Buffer.from(stored, 'base64');
      const given = pbkdf2Sync(password, salt, Number(iterations), 32, 'sha256');
      return Promise.resolve(user && expected.length === 32 && timingSafeEqual(given, expected) ? user : null);
    }

    getId(user: { id: number }): string {
      return String(user.id);
    }
  }

  onEveryDatabase((environment) => {
    it("Django's and Laravel's Argon2id hashes fit, and ids stay what they are", async () => {
      const app = await environment.boot({
        imports: [TypeOrmModule.forFeature([DjangoUser])],
        options: { users: typeOrmUsers(DjangoUser, { id: 'id', username: 'username', password: 'password' }) },
      });
      const argon2id = { algorithm: 2 satisfies Algorithm.Argon2id as Algorithm };
      const django = `argon2${await hash(PASSWORD, { ...argon2id, memoryCost: 102_400, timeCost: 2, parallelism: 8 })}`;
      const laravel = await hash(PASSWORD, { ...argon2id, memoryCost: 65_536, timeCost: 4, parallelism: 1 });
      await app.dataSource.getRepository(DjangoUser).insert([
        { id: 7, username: 'ann', password: django.replace(/^argon2/, '') },
        { id: 8, username: 'bob', password: laravel },
        { id: 9, username: 'cid', password: djangoHash(PASSWORD) },
      ]);
      for (const [username, id] of [
        ['ann', '7'],
        ['bob', '8'],
      ] as const) {
        const { token } = await login(app, username);
        expect((await app.get('/me', token)).json.token.userId).toBe(id);
      }
      refused(await app.login('cid'), 401, 'credentials_invalid');
    });

    it('other hashes need a UserStore that verifies them', async () => {
      djangoUsers.set('cid', { id: 9, password: djangoHash(PASSWORD) });
      const app = await environment.boot({ options: { users: DjangoUsers } });
      const { token } = await login(app, 'cid');
      expect((await app.get('/me', token)).json.token.userId).toBe('9');
      refused(await app.login('cid', 'wrong'), 401, 'credentials_invalid');
    });
  });
});

describe('Taking live tokens along', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { secret: SECRET, schemes: ['Bearer', 'Token'], imported: ['drf', 'sanctum'] },
      });
    });

    const now = () => new Date(app.clock.now);

    it('leaves alone what is there already, also what has been renamed or used since', async () => {
      const user = await app.createUser();
      const key = drfKey();
      const token = { userId: user.id, key, created: now(), name: 'before' };
      expect(await app.tokens.import([token])).toBe(1);
      const [device] = await app.tokens.list(user.id);
      await app.tokens.rename(user.id, device!.id, 'after');
      expect(await app.tokens.import([token, { ...token, key: drfKey() }])).toBe(1);
      expect((await withScheme(app, 'Token', key)).json.token).toMatchObject({ deviceId: device!.id, name: 'after' });
    });

    it('stops at what it cannot take, naming its place and field, and keeps what came before', async () => {
      const user = await app.createUser();
      const good = () => ({ userId: user.id, key: drfKey(), created: now() });
      const SECRET_LOOKING = 'f'.repeat(39);
      const bad: [object, string][] = [
        [{ key: SECRET_LOOKING }, 'key must be 40 hexadecimal digits'],
        [{ key: drfKey().toUpperCase() }, 'key must be 40 hexadecimal digits'],
        [{ key: undefined, digest: SECRET_LOOKING }, 'digest must be 64 hexadecimal digits'],
        [{ digest: 'a'.repeat(64) }, 'key or digest must be given, and not both'],
        [{ key: undefined }, 'key or digest must be given, and not both'],
        [{ created: new Date(Number.NaN) }, 'created must be a Date'],
        [{ created: new Date(-1) }, 'created must be a Date'],
        [{ created: '2026-01-01' }, 'created must be a Date'],
        [{ lastUsedAt: new Date(8.64e15) }, 'lastUsedAt must be a Date'],
        [{ userId: '' }, 'userId must be a string of 1 to 255 characters'],
        [{ lifespan: '200y' }, 'lifespan must be a duration'],
        [{ lifespan: SECRET_LOOKING }, 'lifespan must be a duration'],
      ];
      for (const [index, [wrong, problem]] of bad.entries()) {
        const importing = app.tokens.import([good(), { ...good(), ...wrong }, good()]);
        const error: Error = await importing.then(
          () => new Error('imported'),
          (thrown: Error) => thrown,
        );
        expect(error.message).toContain(`tokens[1]: ${problem}`);
        expect(error.message).not.toContain(SECRET_LOOKING);
        expect(await app.tokens.list(user.id)).toHaveLength(index + 1);
      }
    });

    it('takes any iterable, also an asynchronous one', async () => {
      const user = await app.createUser();
      const keys = Array.from({ length: 100 }, drfKey);
      function* some() {
        for (const key of keys.slice(0, 60)) yield { userId: user.id, key, created: now() };
      }
      async function* all() {
        for (const key of keys) yield await Promise.resolve({ userId: user.id, key, created: now() });
      }
      expect(await app.tokens.import(some())).toBe(60);
      expect(await app.tokens.import(all())).toBe(40);
      expect(await app.tokens.list(user.id)).toHaveLength(100);
    });

    it('brings back what was revoked since: the last import comes before the users', async () => {
      const user = await app.createUser();
      const token = { userId: user.id, key: drfKey(), created: now() };
      await app.tokens.import([token]);
      await app.post('/auth/logout', undefined, token.key);
      refused(await app.get('/me', token.key), 401, 'token_invalid');
      expect(await app.tokens.import([token])).toBe(1);
      expect((await app.get('/me', token.key)).status).toBe(200);
    });

    it("they have the module's lifespan and idle, unless import is told more of them", async () => {
      const short = await environment.boot({
        options: { refresh: {}, idle: '30d', imported: ['drf'] },
        clock: app.clock,
      });
      const user = await short.createUser();
      const [bare, withLifespan, withUse] = [drfKey(), drfKey(), drfKey()];
      const token = { userId: user.id, created: new Date(app.clock.now - 40 * DAY_MS) };
      await short.tokens.import([
        { ...token, key: bare, created: new Date(app.clock.now - HOUR_MS) },
        { ...token, key: withLifespan, lifespan: '90d' },
        { ...token, key: withUse, lifespan: '90d', lastUsedAt: now() },
      ]);
      refused(await short.get('/me', bare), 401, 'token_expired');
      refused(await short.get('/me', withLifespan), 401, 'token_expired');
      expect((await short.get('/me', withUse)).status).toBe(200);
    });

    it('do not keep to the limit, which the next login counts them by', async () => {
      const limited = await environment.boot({
        options: { limit: { perUser: 2, policy: 'reject' }, imported: ['drf'] },
        clock: app.clock,
      });
      const { id: userId, username } = await limited.createUser();
      const tokens = Array.from({ length: 3 }, () => ({ userId, key: drfKey(), created: now() }));
      expect(await limited.tokens.import(tokens)).toBe(3);
      for (const { key } of tokens) expect((await limited.get('/me', key)).status).toBe(200);
      refused(await limited.login(username), 403, 'limit_reached');
    });

    it('admits their shapes only where an option says so', async () => {
      const user = await app.createUser();
      const [key, other] = [drfKey(), sanctumToken()];
      await app.tokens.import([
        { userId: user.id, key, created: now() },
        { userId: user.id, digest: other.digest, created: now() },
      ]);
      const strict = await environment.boot({ options: { schemes: ['Bearer', 'Token'] }, clock: app.clock });
      for (const token of [key, other.plainText]) {
        expect((await withScheme(app, 'Token', token)).status).toBe(200);
        refused(await withScheme(strict, 'Token', token), 401, 'token_invalid');
      }
    });

    it('a token of a user who is not there answers user_inactive', async () => {
      const key = drfKey();
      await app.tokens.import([{ userId: '4711', key, created: now() }]);
      refused(await withScheme(app, 'Token', key), 401, 'user_inactive');
    });

    it('makes devices that are listed and log out as any other', async () => {
      const user = await app.createUser();
      const [first, second] = [drfKey(), drfKey()];
      await app.tokens.import([
        { userId: user.id, key: first, created: now(), name: 'telephone' },
        { userId: user.id, key: second, created: now() },
      ]);
      const { json } = await app.get('/auth/devices', first);
      expect(json).toHaveLength(2);
      expect(json.find((device: any) => device.current)).toMatchObject({ name: 'telephone' });
      expect((await app.post('/auth/logout', undefined, first)).status).toBe(204);
      refused(await app.get('/me', first), 401, 'token_invalid');
      expect((await app.get('/me', second)).status).toBe(200);
      expect(await app.tokens.revokeAll(user.id)).toBe(1);
      refused(await app.get('/me', second), 401, 'token_invalid');
    });

    it('obtain-token gives a token beside them', async () => {
      const user = await app.createUser();
      const key = drfKey();
      await app.tokens.import([{ userId: user.id, key, created: now() }]);
      const { json } = await obtain(app, user.username);
      expect(json.token).not.toBe(key);
      expect((await app.get('/me', json.token)).status).toBe(200);
      expect((await app.get('/me', key)).status).toBe(200);
    });

    it('refuses what is no such token, naming it and never quoting it', async () => {
      const user = await app.createUser();
      const [key, { digest }] = [drfKey(), sanctumToken()];
      const good = { userId: user.id, created: now() };
      const bad: object[] = [
        good,
        { ...good, key, digest },
        { ...good, key: key.slice(1) },
        { ...good, key: `${key}00` },
        { ...good, digest: digest.slice(1) },
        { ...good, key, created: new Date(Number.NaN) },
        { ...good, key, lifespan: '30' },
        { created: now(), key },
      ];
      for (const token of bad) {
        const error = await app.tokens.import([token as never]).then(
          () => null,
          (thrown: unknown) => String(thrown),
        );
        expect(error, JSON.stringify(token)).not.toBeNull();
        expect(error).not.toContain(key.slice(1));
        expect(error).not.toContain(digest.slice(1));
      }
      expect(await app.tokens.list(user.id)).toEqual([]);
    });
  });
});

describe('docs/coming-from.md', () => {
  const document = readFileSync(new URL('../docs/coming-from.md', import.meta.url), 'utf8');

  /** The first cells of the tables, by heading, as plain text. */
  function documentedRows(): Record<string, string[]> {
    const sections = document
      .split(/^## /m)
      .slice(1)
      .map((section) => {
        const [heading, ...lines] = section.split('\n') as [string, ...string[]];
        const [, , ...rows] = lines.filter((line) => line.startsWith('|'));
        return [heading, rows.map((row) => plainText(row.split(/(?<!\\)\|/)[1]!))] as const;
      });
    return Object.fromEntries(sections.filter(([, rows]) => rows.length > 0));
  }

  const plainText = (cell: string) => cell.replaceAll('`', '').replaceAll('\\|', '|').trim();

  /** The tests of the first describe, by the describe that they are in. */
  function testedRows(tasks: readonly RunnerTask[]): Record<string, string[]> {
    const [byDatabase] = tasks.flatMap((task) =>
      task.type === 'suite' && task.name === 'Coming from' ? task.tasks : [],
    );
    const predecessors = byDatabase?.type === 'suite' ? byDatabase.tasks : [];
    return Object.fromEntries(
      predecessors.map((suite) => [suite.name, suite.type === 'suite' ? suite.tasks.map(({ name }) => name) : []]),
    );
  }

  it('has a test for each row of each table, and a row for each test, in the same order', ({ task }) => {
    const tests = testedRows(task.file.tasks);
    const rows = documentedRows();
    expect(Object.keys(tests)).toEqual(Object.keys(rows));
    for (const [heading, cells] of Object.entries(rows)) {
      const names = tests[heading]!;
      expect(names.map((name, index) => (name.startsWith(`${cells[index]}: `) ? cells[index] : name))).toEqual(cells);
    }
  });
});
