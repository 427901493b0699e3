import { Injectable } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import {
  type Credentials,
  hashPassword,
  Token,
  type TypeOrmUsers,
  typeOrmUsers,
  User,
  type UserStore,
} from 'nestjs-expiring-token';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, onOneEnvironment, PASSWORD, type TestApp, type TestEnvironment } from './fixtures/app.js';
import type { Answer } from './fixtures/http.js';
import { extent, report } from './fixtures/iterations.js';
import { TcpProxy } from './fixtures/tcp-proxy.js';

afterEach(() => vi.restoreAllMocks());

const ROUTES = ['/auth/login', '/auth/obtain-token'];

/** How often the password changes during logins. */
const ROUNDS = extent({ usual: 6, soak: 100 });
/** How many logins run at the same time. */
const LANES = 6;

/** Boots an application whose database seems to be further away. */
async function bootFarAway(environment: TestEnvironment, proxy: TcpProxy | null): Promise<TestApp> {
  const url = new URL(proxy ? environment.url : 'sqlite://');
  if (proxy) url.port = String(proxy.port);
  return environment.boot({ options: { refresh: {} }, typeOrm: proxy ? { url: url.href } : {} });
}

describe('A password that changes during logins with the old one', () => {
  onEveryDatabase((environment) => {
    const delaysMs = environment.databaseName === 'sqlite' ? [0] : [0, 1, 2];
    describe.each(delaysMs)('with a database that is %i ms away', (delayMs) => {
      let proxy: TcpProxy | null = null;
      let apps: TestApp[];
      beforeAll(async () => {
        if (environment.databaseName !== 'sqlite')
          proxy = await TcpProxy.to(Number(new URL(environment.url).port), delayMs);
        apps = [await bootFarAway(environment, proxy), await bootFarAway(environment, proxy)];
      });
      afterAll(async () => {
        await environment.closeApplications();
        await proxy?.close();
      });

      it.each(ROUTES)('leaves nobody access who used the old one: %s', { timeout: 120_000 }, async (path) => {
        const [one, two] = apps as [TestApp, TestApp];
        const user = await one.createUser();
        let accepted = 0;
        for (let round = 0; round < ROUNDS; round++) {
          const changed = new AbortController();
          const answers: Answer[] = [];
          const attack = async (app: TestApp) => {
            while (!changed.signal.aborted)
              answers.push(await app.post(path, { username: user.username, password: PASSWORD }));
          };
          const attacks = Array.from({ length: LANES }, (_, lane) => attack(lane % 2 ? one : two));
          await vi.waitUntil(() => answers.length > 0, { timeout: 10_000, interval: 1 });
          await two.users.changePassword(user.id, `password ${round}`);
          changed.abort();
          await Promise.all(attacks);

          expect(await one.tokens.list(user.id), `devices after round ${round}`).toEqual([]);
          for (const { status, json } of answers) {
            expect(status === 200 || json.code === 'credentials_invalid', `round ${round}: ${status}`).toBe(true);
            if (status !== 200) continue;
            accepted++;
            expect((await one.get('/me', json.token)).json.code).toBe('token_invalid');
            if (!json.refreshToken) continue;
            expect((await two.post('/auth/refresh', { refreshToken: json.refreshToken })).status).toBe(401);
          }
          await one.users.changePassword(user.id, PASSWORD);
        }
        report(
          `R6 ${environment.databaseName}, ${delayMs} ms away, ${path}: 0 survivors of ${accepted} tokens in ${ROUNDS} changes of the password`,
        );
      });
    });
  });
});

/** What happens after the credentials of a login were verified, and before its token is issued. */
const MEANWHILE: Record<string, (app: TestApp, id: string) => Promise<unknown>> = {
  'the password changes': (app, id) => app.users.changePassword(id, 'a new password'),
  'the user is deactivated': (app, id) => app.users.setActive(id, false),
  'the user is deleted': (app, id) => app.users.delete(id),
};

describe('A login', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {} } });
    });

    it.each(ROUTES.flatMap((path) => Object.entries(MEANWHILE).map((change) => [path, ...change] as const)))(
      'at %s is rejected if between its verification and its token %s',
      async (path, _, change) => {
        const user = await app.createUser();
        const store = app.nest.get<UserStore>(USER_STORE);
        const validate = store.validateCredentials.bind(store);
        vi.spyOn(store, 'validateCredentials').mockImplementationOnce(async (credentials) => {
          const verified = await validate(credentials);
          await change(app, user.id);
          return verified;
        });
        const answer = await app.post(path, { username: user.username, password: PASSWORD });
        expect(answer).toMatchObject({ status: 401, json: { code: 'credentials_invalid' } });
        expect(await app.dataSource.getRepository(Token).countBy({ userId: user.id })).toBe(0);
      },
    );

    it('is accepted if meanwhile another login replaced the hash of the same password', async () => {
      const user = await app.createUser();
      const store = app.nest.get<UserStore>(USER_STORE);
      const validate = store.validateCredentials.bind(store);
      const validations = vi.spyOn(store, 'validateCredentials').mockImplementationOnce(async (credentials) => {
        const verified = await validate(credentials);
        await app.users.changePassword(user.id, PASSWORD);
        return verified;
      });
      expect((await app.login(user.username)).status).toBe(200);
      expect(validations).toHaveBeenCalledTimes(2);
    });

    it.each(['logIn', 'obtain'] as const)(
      'by the service is rejected for a user who may not log in: %s',
      async (method) => {
        const user = await app.createUser();
        await app.users.setActive(user.id, false);
        for (const id of [user.id, '01b8e094-9b2e-7000-8000-000000000000', 'nobody']) {
          await expect(app.tokens[method](id), id).rejects.toMatchObject({ code: 'user_inactive' });
          expect(await app.tokens.list(id), id).toEqual([]);
        }
        await app.users.setActive(user.id, true);
        await expect(app.tokens[method](user.id)).resolves.toBeDefined();
      },
    );
  });
});

const OverUser = typeOrmUsers(User, { id: 'id', username: 'username', password: 'password', active: 'active' });

/** What a test does while a login is verified. */
let meanwhile: () => Promise<unknown> = async () => undefined;

/** Passes on other credentials, and loads the user again. */
@Injectable()
class ReloadingUsers extends OverUser {
  override async validateCredentials({ username, password }: Credentials) {
    const user = await super.validateCredentials({ username: username.trim(), password });
    await meanwhile();
    return user && this.findById(this.getId(user));
  }
}

/** Returns one object per user to all logins. */
@Injectable()
class SharingUsers extends OverUser {
  private readonly shared = new Map<string, User>();

  override async validateCredentials(credentials: Credentials) {
    const user = await super.validateCredentials(credentials);
    if (!user) return null;
    if (!this.shared.has(user.id)) this.shared.set(user.id, user);
    await meanwhile();
    return this.shared.get(user.id)!;
  }
}

describe('A subclass of typeOrmUsers', () => {
  onEveryDatabase((environment) => {
    afterEach(() => {
      meanwhile = async () => undefined;
    });

    it.each([
      ['loads the user again', ReloadingUsers],
      ['returns the same object to several logins', SharingUsers],
    ])('that %s rejects a login whose password changed, and accepts the new one', async (_, users) => {
      const app = await environment.boot({ options: { users, refresh: {} } });
      const store = app.nest.get<TypeOrmUsers<User>>(USER_STORE);
      const username = `user-${Math.random()}`;
      const id = uuidV7(Date.now());
      await app.dataSource.getRepository(User).insert({ id, username, password: await hashPassword(PASSWORD) });
      expect((await app.login(username)).status).toBe(200);
      let changes = 0;
      meanwhile = async () => {
        if (changes++ > 0) return;
        await store.changePassword(id, 'a new password');
        // The owner logs in before the login with the old password ends.
        expect((await app.login(username, 'a new password')).status).toBe(200);
        await app.tokens.revokeAll(id);
      };
      expect(await app.login(username)).toMatchObject({ status: 401, json: { code: 'credentials_invalid' } });
      expect(await app.tokens.list(id)).toEqual([]);
      expect((await app.login(username, 'a new password')).status).toBe(200);
    });

    it('that logs in by a route of its own passes the credentials on', async () => {
      const app = await environment.boot({ options: {} });
      const user = await app.createUser();
      const store = app.nest.get<UserStore<User>>(USER_STORE);
      const credentials = { username: user.username, password: PASSWORD };
      expect(await store.validateCredentials(credentials)).not.toBeNull();
      await expect(app.tokens.logIn(user.id, { credentials })).resolves.toBeDefined();
      await app.users.changePassword(user.id, 'a new password');
      for (const method of ['logIn', 'obtain'] as const) {
        await expect(app.tokens[method](user.id, { credentials }), method).rejects.toMatchObject({
          code: 'credentials_invalid',
        });
      }
      expect(await app.tokens.list(user.id)).toEqual([]);
    });
  });
});

interface Member {
  id: string;
  password: string;
}

/** A user store of an application, which changes passwords on its own. */
@Injectable()
class Members implements UserStore<Member> {
  readonly ann: Member = { id: '7', password: PASSWORD };

  findById = async (id: string) => (id === this.ann.id ? this.ann : null);
  validateCredentials = async ({ password }: Credentials) => (password === this.ann.password ? this.ann : null);
  getId = ({ id }: Member) => id;
  isStillValid = async (_: Member, { password }: Credentials) => password === this.ann.password;
}

describe('A user store with isStillValid', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let members: Members;
    let events: string[];
    beforeAll(async () => {
      app = await environment.boot({
        options: { users: Members, refresh: {} },
        imports: [EventEmitterModule.forRoot({ wildcard: true })],
      });
      members = app.nest.get(USER_STORE);
      app.nest.get(EventEmitter2).onAny((name) => events.push(String(name)));
    });
    beforeEach(async () => {
      events = [];
      members.ann.password = PASSWORD;
      await app.tokens.revokeAll(members.ann.id);
    });

    const rowsOfAnn = () => app.dataSource.getRepository(Token).countBy({ userId: members.ann.id });

    it.each(ROUTES)('rejects a login that is no longer valid, and nothing is issued: %s', async (path) => {
      vi.spyOn(members, 'isStillValid').mockResolvedValue(false);
      const answer = await app.post(path, { username: path, password: PASSWORD });
      expect(answer).toMatchObject({ status: 401, json: { code: 'credentials_invalid' } });
      expect(await rowsOfAnn()).toBe(0);
      await vi.waitFor(() => expect(events).toContain('expiring-token.login-failed'));
      expect(events).not.toContain('expiring-token.issued');
    });

    it('is asked with the user and the credentials of the login', async () => {
      const asked = vi.spyOn(members, 'isStillValid');
      expect((await app.login('ann')).status).toBe(200);
      for (const call of asked.mock.calls) expect(call).toEqual([members.ann, { username: 'ann', password: PASSWORD }]);
      expect(asked).toHaveBeenCalled();
    });

    it.each([1, 2])('leaves no token if the password changes while it is asked for the %s. time', async (time) => {
      let calls = 0;
      const isStillValid = members.isStillValid;
      vi.spyOn(members, 'isStillValid').mockImplementation(async (...parameters) => {
        const isValid = await isStillValid(...parameters);
        if (++calls === time) members.ann.password = 'a new password';
        return isValid;
      });
      const login = app.login('ann');
      await vi.waitUntil(() => calls >= time, { timeout: 10_000, interval: 1 });
      // Waits for the login, which has not ended.
      await app.tokens.revokeAll(members.ann.id);
      const { status, json } = await login;
      expect(await app.tokens.list(members.ann.id)).toEqual([]);
      if (status === 200) expect((await app.get('/auth/token', json.token)).status).toBe(401);
      else expect(json.code).toBe('credentials_invalid');
    });
  });

  onOneEnvironment((environment) => {
    it.each([1, 2])(
      'that never answers the %i. question does not keep the user from ending access',
      async (question) => {
        const app = await environment.boot({ options: { users: Members, timeout: '300ms' } });
        const members = app.nest.get<Members>(USER_STORE);
        const { plainText } = (await app.tokens.logIn(members.ann.id)).access;
        const asked = vi.spyOn(members, 'isStillValid');
        for (let answered = 1; answered < question; answered++) asked.mockResolvedValueOnce(true);
        asked.mockReturnValueOnce(new Promise(() => undefined));
        expect((await app.login('ann')).status).toBe(503);
        expect((await app.post('/auth/logout-all', undefined, plainText)).status).toBe(200);
        expect(await app.tokens.list(members.ann.id)).toEqual([]);
        expect((await app.login('ann')).status).toBe(200);
      },
    );

    it('counts the rejected login as a failed one', async () => {
      const app = await environment.boot({ options: { users: Members, loginThrottle: { limit: 3 } } });
      vi.spyOn(app.nest.get<Members>(USER_STORE), 'isStillValid').mockResolvedValue(false);
      const statuses: number[] = [];
      for (let attempt = 0; attempt < 4; attempt++) statuses.push((await app.login('ann')).status);
      expect(statuses).toEqual([401, 401, 401, 429]);
    });

    it('that cannot answer is an outage, and no rejection', async () => {
      const app = await environment.boot({ options: { users: Members, loginThrottle: { limit: 3 } } });
      const asked = vi.spyOn(app.nest.get<Members>(USER_STORE), 'isStillValid');
      asked.mockRejectedValue(new Error('the directory is away'));
      for (let attempt = 0; attempt < 5; attempt++) {
        expect(await app.login('ann')).toMatchObject({ status: 503, json: { code: 'unavailable' } });
      }
      asked.mockRestore();
      expect((await app.login('ann')).status).toBe(200);
    });
  });
});
