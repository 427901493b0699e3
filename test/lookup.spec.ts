import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { Agent } from 'node:http';
import { setImmediate as nextTurn, setTimeout as nextTimer } from 'node:timers/promises';
import { Injectable, type Type } from '@nestjs/common';
import { getDataSourceToken } from '@nestjs/typeorm';
import fc from 'fast-check';
import {
  type Credentials,
  type ExpiringTokenModuleOptions,
  Token,
  typeOrmUsers,
  User,
  type UserStore,
} from 'nestjs-expiring-token';
import {
  AfterLoad,
  Column,
  type ColumnOptions,
  type DataSource,
  ChildEntity,
  DeleteDateColumn,
  Entity,
  EventSubscriber,
  type EntitySubscriberInterface,
  JoinColumn,
  ManyToOne,
  PrimaryColumn,
  type PrimaryColumnOptions,
  RelationId,
  TableInheritance,
  VirtualColumn,
} from 'typeorm';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { uuidV7 } from '../lib/database/uuid-v7.js';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { digestToken, generateToken } from '../lib/tokens/token-secret.js';
import { TokenPruner } from '../lib/tokens/token.pruner.js';
import type { DatabaseName } from './fixtures/databases.js';
import { warnings, onEveryDatabase, onEveryEnvironment, type TestEnvironment, type TestApp } from './fixtures/app.js';
import { type Sent, Statements } from './fixtures/statements.js';

const DAY_MS = 86_400_000;

let sources = 0;

/** An application over a data source that has these entities and no others: what one database can hold, another cannot. */
async function bootOver(
  environment: TestEnvironment,
  users: Type<UserStore>,
  entities: Type[],
  { options = {}, typeOrm = {} }: { options?: ExpiringTokenModuleOptions; typeOrm?: object } = {},
): Promise<{ app: TestApp; dataSource: DataSource }> {
  const name = `lookup-${++sources}`;
  const app = await environment.boot({
    options: { users, dataSource: name, ...options },
    typeOrm: { name, autoLoadEntities: false, entities: [Token, ...entities], ...typeOrm },
  });
  return { app, dataSource: app.nest.get<DataSource>(getDataSourceToken(name)) };
}

/** Puts tokens into the table, without the cost of a login each, and used a moment ago: that is not written again. */
async function put(app: TestApp, dataSource: DataSource, rows: Partial<Token>[]): Promise<string[]> {
  const now = app.clock.now;
  const made = rows.map((row) => {
    const { id = uuidV7(now) } = row;
    const plainText = generateToken('ext_', id);
    const token = {
      id,
      deviceId: uuidV7(now),
      purpose: 'access',
      name: null,
      userAgent: null,
      created: new Date(now),
      lifespan: null,
      lastUsedAt: new Date(now),
      digest: digestToken(plainText),
      ...row,
    } as Partial<Token>;
    return { plainText, token };
  });
  for (let at = 0; at < made.length; at += 500) {
    await dataSource.getRepository(Token).insert(made.slice(at, at + 500).map(({ token }) => token));
  }
  return made.map(({ plainText }) => plainText);
}

/** Tokens of users, one for each. */
const tokensOf = (app: TestApp, dataSource: DataSource, userIds: unknown[]) =>
  put(
    app,
    dataSource,
    userIds.map((userId) => ({ userId: String(userId) })),
  );

/** What `authenticate` says of tokens, all asked in one turn: the user, or the code of the error. */
const authenticate = (app: TestApp, tokens: string[]): Promise<unknown[]> =>
  Promise.all(
    tokens.map((token) =>
      app.tokens.authenticate(token).then(
        ({ user }): unknown => user,
        (error: { code: string }) => error.code,
      ),
    ),
  );

@Entity()
class Member {
  @PrimaryColumn('integer')
  id: number;

  @Column()
  email: string;

  @Column('varchar', { nullable: true, select: false })
  passwordHash?: string | null;

  @Column({ default: true })
  active: boolean;
}

const MEMBER = { id: 'id', username: 'email', password: 'passwordHash', active: 'active' } as const;

interface Person {
  id: string;
  active: boolean;
}

/** A store of the application that has its users in memory, and does what a test tells it. */
@Injectable()
class People implements UserStore<Person> {
  readonly people = new Map<string, Person>();
  /** The ids that were asked for. */
  asked: (string | readonly string[])[] = [];
  one: (id: string) => unknown;

  constructor() {
    this.reset();
  }

  reset(): void {
    this.asked = [];
    this.one = (id) => this.people.get(id) ?? null;
  }

  async findById(id: string) {
    this.asked.push(id);
    return (await this.one(id)) as Person | null;
  }

  async validateCredentials({ username }: Credentials) {
    return this.people.get(username) ?? null;
  }

  getId(person: Person) {
    return person.id;
  }

  isActive(person: Person) {
    return person.active;
  }
}

/** One that is asked for many users at once. */
@Injectable()
class Crowd extends People {
  many: (ids: readonly string[]) => unknown;

  override reset(): void {
    super.reset();
    this.many = (ids) => ids.flatMap((id) => this.people.get(id) ?? []);
  }

  async findByIds(ids: readonly string[]) {
    this.asked.push(ids);
    return (await this.many(ids)) as Person[];
  }
}

type State = 'active' | 'inactive' | 'deleted';

/** A token, and what is to be said of it. */
interface Known {
  plainText: string;
  /** The id of its user, or the code of the error. */
  expected: string;
  tokenId?: string;
}

const isCode = (expected: string) => expected.includes('_');

const USERS = 300;
const STATES: State[] = ['active', 'active', 'active', 'inactive', 'deleted'];
const stateOf = (user: number): State => STATES[user % STATES.length]!;

/** Some tokens of each of the users, of every kind that there is. */
async function populate(app: TestApp, dataSource: DataSource, userIds: readonly string[]): Promise<Known[]> {
  const live = userIds.flatMap((userId) => Array.from({ length: 4 }, () => ({ id: uuidV7(app.clock.now), userId })));
  const purposes = ['access', 'obtained', 'refresh', 'rotated'] as const;
  const made = userIds.flatMap((userId, user) => {
    const state = stateOf(user);
    const admitted = state === 'active' ? userId : 'user_inactive';
    const old = new Date(app.clock.now - 40 * DAY_MS);
    return [
      { userId, expected: admitted },
      { userId, expected: admitted, purpose: 'obtained' as const },
      { userId, expected: state === 'active' ? 'token_expired' : admitted, created: old, lastUsedAt: old },
      { userId, expected: 'token_invalid', purpose: purposes[2 + (user % 2)]! },
    ];
  });
  const plainTexts = await put(
    app,
    dataSource,
    made.map(({ expected: _, ...row }, at) => ({ ...row, id: live[at]!.id })),
  );
  const known = made.map(({ expected }, at) => ({ plainText: plainTexts[at]!, expected, tokenId: live[at]!.id }));
  return known.flatMap((token) => [
    token,
    { plainText: generateToken('ext_', token.tokenId), expected: 'token_invalid' },
    { plainText: generateToken('ext_', uuidV7(app.clock.now)), expected: 'token_invalid' },
  ]);
}

/** Applications, each with users in another store: their ids, and the application. */
const STORES: Record<
  string,
  (environment: TestEnvironment) => Promise<{ app: TestApp; dataSource: DataSource; ids: string[] }>
> = {
  'the built-in store': async (environment) => {
    const app = await environment.boot();
    const ids = Array.from({ length: USERS }, () => uuidV7(app.clock.now));
    const rows = ids.map((id, user) => ({ id, username: randomUUID(), active: stateOf(user) === 'active' }));
    await app.dataSource.getRepository(User).insert(rows.filter((_, user) => stateOf(user) !== 'deleted'));
    return { app, dataSource: app.dataSource, ids };
  },
  typeOrmUsers: async (environment) => {
    const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member]);
    const ids = Array.from({ length: USERS }, (_, user) => user + 1);
    await dataSource.getRepository(Member).deleteAll();
    const rows = ids.map((id, user) => ({ id, email: `${id}@example.org`, active: stateOf(user) === 'active' }));
    await dataSource.getRepository(Member).insert(rows.filter((_, user) => stateOf(user) !== 'deleted'));
    return { app, dataSource, ids: ids.map(String) };
  },
  ...Object.fromEntries(
    [People, Crowd].map((Store) => [
      `a store of the application ${Store === Crowd ? 'with' : 'without'} findByIds`,
      async (environment: TestEnvironment) => {
        const { app, dataSource } = await bootOver(environment, Store, []);
        const ids = Array.from({ length: USERS }, () => randomUUID());
        const { people } = app.nest.get<People>(USER_STORE);
        ids.forEach((id, user) => {
          if (stateOf(user) !== 'deleted') people.set(id, { id, active: stateOf(user) === 'active' });
        });
        return { app, dataSource, ids };
      },
    ]),
  ),
};

describe('Tokens that are looked up together', () => {
  onEveryDatabase((environment) => {
    for (const [name, boot] of Object.entries(STORES)) {
      describe(`with ${name}`, () => {
        let app: TestApp;
        let known: Known[];
        beforeAll(async () => {
          const started = await boot(environment);
          ({ app } = started);
          known = await populate(app, started.dataSource, started.ids);
        });

        /** Passes some time, as requests do that do not come together. */
        const pauses = {
          none: () => undefined,
          microtask: () => Promise.resolve(),
          tick: () => new Promise<void>((resolve) => process.nextTick(resolve)),
          turn: () => nextTurn(),
          timer: () => nextTimer(),
        };
        const pause = fc.constantFrom(...(Object.keys(pauses) as (keyof typeof pauses)[]));
        const asked = () => fc.array(fc.nat(known.length - 1), { maxLength: 300, size: 'max' });

        it('are never mixed up, in whichever turns they are asked for', async () => {
          const property = fc.asyncProperty(
            fc.array(fc.tuple(asked(), pause), { minLength: 1, maxLength: 8, size: 'max' }),
            async (bursts) => {
              const answers: Promise<[answer: string, expected: string]>[] = [];
              const ask = async ({ plainText, expected, tokenId }: Known): Promise<[string, string]> => {
                const answer = await app.tokens.authenticate(plainText).then(
                  ({ user, token }) => `${(user as Person).id} ${token.id} ${token.userId}`,
                  (error: { code: string }) => error.code,
                );
                return [answer, isCode(expected) ? expected : `${expected} ${tokenId} ${expected}`];
              };
              for (const [tokens, passes] of bursts) {
                // One in ten again at once.
                answers.push(...tokens.flatMap((at) => (at % 10 ? [at] : [at, at])).map((at) => ask(known[at]!)));
                await pauses[passes]();
              }
              for (const [answer, expected] of await Promise.all(answers)) expect(answer).toBe(expected);
            },
          );
          await fc.assert(property, { numRuns: 6 });
        });

        it('are told apart where all are the same one, and where each is another', async () => {
          for (const some of [Array.from({ length: 600 }, () => known[0]!), known.slice(0, 1200)]) {
            const found = await authenticate(
              app,
              some.map(({ plainText }) => plainText),
            );
            const told = found.map((user) => (typeof user === 'string' ? user : String((user as Person | Member).id)));
            expect(told).toEqual(some.map(({ expected }) => expected));
          }
        });
      });
    }

    for (const name of ['the built-in store', 'typeOrmUsers']) {
      it(`with ${name} are objects of one request alone, and so are their users`, async () => {
        const { app, dataSource, ids } = await STORES[name]!(environment);
        const tokens = [...(await tokensOf(app, dataSource, [ids[0], ids[0], ids[1]]))];
        const asked = [...tokens, ...tokens];
        const found = await Promise.all(asked.map((token) => app.tokens.authenticate(token)));
        expect(new Set(found.map(({ user }) => user)).size).toBe(asked.length);
        expect(new Set(found.map(({ token }) => token)).size).toBe(asked.length);
        Object.assign(found[0]!.user as object, { active: false });
        found[0]!.token.created = new Date(0);
        expect(found[3]).toMatchObject({ user: { active: true }, token: { created: new Date(app.clock.now) } });
        expect(await authenticate(app, [tokens[0]!])).toMatchObject([{ active: true }]);
      });
    }
  });

  onEveryEnvironment((environment) => {
    it('are not mixed up over HTTP', async () => {
      const { app, dataSource, ids } = await STORES['the built-in store']!(environment);
      const known = await populate(app, dataSource, ids);
      const agent = new Agent({ keepAlive: true, maxSockets: 100 });
      const asked = Array.from({ length: 250 }, () => known[Math.trunc(Math.random() * known.length)]!);
      const answers = await Promise.all(
        asked.map(async ({ plainText }) => {
          const { status, json } = await app.send('/me', {
            agent,
            headers: [['Authorization', `Bearer ${plainText}`]],
          });
          return status === 200 ? [json.user.id, json.token.id] : [json.code, undefined];
        }),
      );
      agent.destroy();
      expect(answers).toEqual(asked.map(({ expected, tokenId }) => [expected, isCode(expected) ? undefined : tokenId]));
    });
  });
});

describe('The look-ups of one turn of the event loop', () => {
  onEveryDatabase((environment) => {
    for (const name of ['the built-in store', 'typeOrmUsers']) {
      describe(`with ${name}`, () => {
        let app: TestApp;
        let dataSource: DataSource;
        let statements: Statements;
        let tokens: string[];
        beforeAll(async () => {
          const started = await STORES[name]!(environment);
          ({ app, dataSource } = started);
          await app.nest.get(TokenPruner).beforeApplicationShutdown();
          statements = await Statements.of(dataSource);
          const active = started.ids.filter((_, user) => stateOf(user) === 'active');
          tokens = await tokensOf(app, dataSource, [...active, ...active]);
          statements.take();
        });
        afterAll(() => statements.close());

        it('are one statement, and those of the next are another', async () => {
          for (const many of [1, 2, 50, 256]) {
            const found = await authenticate(app, tokens.slice(0, many));
            expect(found.filter((user) => typeof user === 'object')).toHaveLength(many);
            expect(statements.take()).toHaveLength(1);
          }
          await authenticate(app, tokens.slice(0, 257));
          expect(statements.take()).toHaveLength(2);
          const first = authenticate(app, tokens.slice(0, 5));
          await nextTurn();
          const second = authenticate(app, tokens.slice(0, 5));
          await Promise.all([first, second]);
          expect(statements.take()).toHaveLength(2);
        });

        it('are one statement too where each came a moment after the other', async () => {
          const found = await Promise.all(
            tokens.slice(0, 15).map(async (token, moments) => {
              for (let passed = 0; passed < moments; passed++) await Promise.resolve();
              if (moments % 3 === 0) await new Promise<void>((resolve) => process.nextTick(resolve));
              return app.tokens.authenticate(token);
            }),
          );
          expect(found).toHaveLength(15);
          expect(statements.take()).toHaveLength(1);
        });

        it('are more statements where many come one by one: the first of them are looked up meanwhile', async () => {
          // All in one turn, each in a callback of its own, as requests are.
          const found = await Promise.all(
            tokens.slice(0, 48).map(async (token) => {
              await nextTurn();
              return app.tokens.authenticate(token);
            }),
          );
          expect(found).toHaveLength(48);
          const asked = statements.take().map(({ values }) => values.flat().length);
          // SQLite has answered before the next one comes.
          expect(asked).toEqual(environment.databaseName === 'sqlite' ? [16, 16, 16] : [16, 32]);
        });

        it('ask for a token once, however many present it', async () => {
          await authenticate(
            app,
            Array.from({ length: 40 }, () => tokens[0]!),
          );
          const sent = statements.take();
          expect(sent).toHaveLength(1);
          expect(sent[0]!.values).toHaveLength(1);
        });

        it('leave nothing behind: what was revoked or shut out between two turns is refused in the second', async () => {
          const { user, token } = await app.tokens.authenticate(tokens[0]!);
          const { user: other } = await app.tokens.authenticate(tokens[1]!);
          expect(await app.tokens.revoke(token.userId, token.deviceId)).toBe(true);
          const entity = (user as object).constructor as typeof User;
          await dataSource.getRepository(entity).update({ id: (other as User).id }, { active: false });
          expect(await authenticate(app, tokens.slice(0, 3))).toMatchObject([
            'token_invalid',
            'user_inactive',
            { active: true },
          ]);
        });

        it('do not select the hash of a password', async () => {
          const secret = dataSource
            .getMetadata(name === 'typeOrmUsers' ? Member : User)
            .columns.find(({ isSelect }) => !isSelect)!;
          statements.take();
          const [user] = await authenticate(app, [tokens[5]!]);
          const [sent] = statements.take();
          expect(sent!.sql).not.toMatch(/\*|pass|hash/i);
          expect(secret.databaseName).toMatch(/pass/);
          expect(user).not.toHaveProperty(secret.propertyName);
        });
      });
    }
  });
});

describe('One bad member of a batch', () => {
  onEveryDatabase((environment) => {
    it('whose user id is no value of the column keeps nobody else out', async () => {
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member]);
      await dataSource.getRepository(Member).insert([{ id: 1, email: 'ann' }]);
      const strange = ['abc', '1abc', ' 1', '1e0', '0x1', '01', '+1', '1.0', '\\', "' OR 1=1 --", '-', '٣', '1\n'];
      const large = ['2147483648', '-9223372036854775809', '99999999999999999999', '9'.repeat(255)];
      const ids = [...strange, ...large, '0', '-1', randomUUID(), 'null', 'undefined', 'NaN', '😀', 'x'.repeat(255)];
      const tokens = await tokensOf(app, dataSource, ['1', ...ids, '1']);
      const lines = warnings.length;
      const expected = [{ id: 1 }, ...ids.map(() => 'user_inactive'), { id: 1 }];
      for (let turn = 0; turn < 2; turn++) expect(await authenticate(app, tokens)).toMatchObject(expected);
      for (const [at, token] of tokens.entries())
        expect(await authenticate(app, [token])).toMatchObject([expected[at]]);
      expect(warnings.slice(lines)).toEqual([]);
    });

    it('whose user id is no UUID keeps nobody else out, nor is another spelling of one the same', async () => {
      const entity = entityOf({ id: { primary: true, type: 'uuid' } });
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
      const id = '01b8e094-9b2e-7000-8000-00000000000a';
      await dataSource.getRepository(entity).insert({ id, name: 'ann' });
      const spellings = [id.toUpperCase(), `{${id}}`, id.replaceAll('-', ''), `${id}\n`, ` ${id}`, `${id}0`];
      const others = [...spellings, 'ann', '1', "' OR 1=1 --", '😀', 'x'.repeat(255), randomUUID()];
      const tokens = await tokensOf(app, dataSource, [id, ...others, id]);
      const lines = warnings.length;
      const expected = [{ id }, ...others.map(() => 'user_inactive'), { id }];
      for (let turn = 0; turn < 2; turn++) expect(await authenticate(app, tokens)).toMatchObject(expected);
      expect(warnings.slice(lines)).toEqual([]);
    });

    it('whose row cannot be read is answered 503, alone', async () => {
      const transformer = {
        to: (text: string) => text,
        from: (text: string | null) => {
          if (text === 'spoilt') throw new Error('cannot be opened');
          return text;
        },
      };
      const entity = entityOf({
        id: { primary: true, type: 'integer' },
        sealed: { type: 'varchar', nullable: true, transformer },
      });
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
      const sealed = ['fine', 'spoilt', 'fine', 'fine'];
      await dataSource.getRepository(entity).insert(sealed.map((text, at) => ({ id: at + 1, sealed: text })));
      const tokens = await tokensOf(app, dataSource, [1, 2, 3, 5, 4]);
      const [one, three, four] = [1, 3, 4].map((id) => ({ id, sealed: 'fine' }));
      expect(await authenticate(app, tokens)).toMatchObject([one, 'unavailable', three, 'user_inactive', four]);
    });

    it('is nobody of the name that a missing row would have', async () => {
      const exact = environment.databaseName === 'mariadb' ? { charset: 'utf8mb4', collation: 'utf8mb4_bin' } : {};
      @Entity('anybody')
      class Anybody {
        @PrimaryColumn('varchar', { length: 100, ...exact })
        id: string;

        @Column('varchar', { nullable: true })
        passwordHash: string | null;
      }
      const store = typeOrmUsers(Anybody, { id: 'id', username: 'id', password: 'passwordHash' });
      const { app, dataSource } = await bootOver(environment, store, [Anybody]);
      const tokens = await tokensOf(app, dataSource, ['null', 'undefined', '', 'ann']);
      expect(await authenticate(app, tokens)).toEqual(tokens.map(() => 'user_inactive'));
      await dataSource.getRepository(Anybody).insert([{ id: 'null' }, { id: 'ann' }]);
      const found = await authenticate(app, tokens);
      expect(found).toMatchObject([{ id: 'null' }, 'user_inactive', 'user_inactive', { id: 'ann' }]);
    });

    for (const Store of [People, Crowd]) {
      describe(`of a store ${Store === Crowd ? 'with' : 'without'} findByIds`, () => {
        let app: TestApp;
        let store: People;
        let tokens: string[];
        const ids = ['ann', 'bob', 'eve', 'cat', 'dan'];
        const EVE = 2;
        beforeAll(async () => {
          const started = await bootOver(environment, Store, [], { options: { timeout: '800ms' } });
          ({ app } = started);
          tokens = await tokensOf(app, started.dataSource, ids);
        });
        beforeEach(() => {
          store = app.nest.get(USER_STORE);
          store.reset();
          for (const id of ids) store.people.set(id, { id, active: true });
        });

        const find = (id: string) => store.people.get(id) ?? null;
        const everybody = ids.map((id) => ({ id, active: true }));
        /** All are let in, but for one. */
        const allBut = (code: string) => everybody.with(EVE, code as unknown as Person);

        it('for whom it throws is answered 503, alone, and asked for again in the next turn', async () => {
          const throwsFor = (id: string) => {
            if (id === 'eve') throw new Error('no entry');
            return find(id);
          };
          store.one = throwsFor;
          if (store instanceof Crowd) store.many = (asked) => asked.map(throwsFor);
          for (let turn = 0; turn < 2; turn++) {
            expect(await authenticate(app, [...tokens, tokens[EVE]!])).toEqual([
              ...allBut('unavailable'),
              'unavailable',
            ]);
          }
          store.reset();
          expect(await authenticate(app, tokens)).toEqual(everybody);
        });

        it('for whom it rejects later does so for itself alone', async () => {
          const rejectsFor = async (id: string) => {
            await nextTurn();
            if (id === 'eve') throw new Error('no entry');
            return find(id);
          };
          store.one = rejectsFor;
          if (store instanceof Crowd) store.many = (asked) => Promise.all(asked.map(rejectsFor));
          expect(await authenticate(app, tokens)).toEqual(allBut('unavailable'));
        });

        it('for whom it never answers is answered 503 in time, and the others at once', async () => {
          store.one = (id) => (id === 'eve' ? new Promise(() => undefined) : find(id));
          if (store instanceof Crowd) {
            store.many = () => {
              throw new Error('not all of them');
            };
          }
          const started = performance.now();
          let answered = false;
          const eve = authenticate(app, [tokens[EVE]!]).finally(() => (answered = true));
          const others = ids.filter((id) => id !== 'eve');
          expect(await authenticate(app, tokens.toSpliced(EVE, 1))).toEqual(others.map((id) => ({ id, active: true })));
          expect(answered).toBe(false);
          expect(await eve).toEqual(['unavailable']);
          expect(performance.now() - started).toBeGreaterThan(700);
          expect(performance.now() - started).toBeLessThan(3000);
        });

        it('whose activity cannot be told is answered 503, alone', async () => {
          store.people.set('eve', {
            id: 'eve',
            get active(): boolean {
              throw new Error('no such attribute');
            },
          });
          expect(await authenticate(app, tokens)).toEqual(allBut('unavailable'));
        });

        it('who is not found, or whose store answers at once and not by a promise, is no exception', async () => {
          store.people.delete('eve');
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          const own = Object.keys(store);
          store.findById = ((id: string) => find(id)) as unknown as People['findById'];
          if (store instanceof Crowd) {
            store.findByIds = ((asked: string[]) =>
              asked.flatMap((id) => find(id) ?? [])) as unknown as Crowd['findByIds'];
          }
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          expect(await authenticate(app, [tokens[0]!])).toEqual([everybody[0]]);
          expect(await authenticate(app, [tokens[EVE]!])).toEqual(['user_inactive']);
          for (const method of Object.keys(store)) if (!own.includes(method)) Reflect.deleteProperty(store, method);
        });

        if (Store !== Crowd) {
          it('is asked for in the asynchronous context of its own request', async () => {
            const tenants = new AsyncLocalStorage<string>();
            const seen: string[] = [];
            store.one = async (id) => {
              const before = tenants.getStore();
              await nextTurn();
              seen.push(`${id}: ${before}, ${tenants.getStore()}`);
              return find(id);
            };
            const asked = Array.from({ length: 40 }, (_, at) => at % ids.length);
            const answers = await Promise.all(
              asked.map((at, request) =>
                tenants.run(`${ids[at]} of ${request}`, () => app.tokens.authenticate(tokens[at]!)),
              ),
            );
            expect(answers).toHaveLength(asked.length);
            const own = asked.map((at, request) => `${ids[at]}: ${ids[at]} of ${request}, ${ids[at]} of ${request}`);
            expect(seen.toSorted()).toEqual(own.toSorted());
          });
          return;
        }

        it('is asked for together with all others of a turn, once', async () => {
          expect(await authenticate(app, [...tokens, ...tokens])).toEqual([...everybody, ...everybody]);
          expect(store.asked).toEqual([ids]);
          store.asked = [];
          for (const some of [ids.slice(0, 2), ids]) {
            await authenticate(app, tokens.slice(0, some.length));
            expect(store.asked.pop()).toEqual(some);
          }
          expect(store.asked).toEqual([]);
        });

        it('is let in by no answer that findByIds should not give, nor does one keep others out', async () => {
          const crowd = store as Crowd;
          const all = (asked: readonly string[]) => asked.map((id) => find(id)!);
          const stranger = { id: 'mallory', active: true };
          const fine: Crowd['many'][] = [
            (asked) => all(asked).toReversed(),
            (asked) => [...all(asked), ...all(asked)],
            (asked) => [stranger, ...all(asked)],
            (asked) => Promise.resolve(all(asked)),
            () => null,
            () => undefined,
            () => 7,
            () => 'ann',
            () => ({ length: 5 }),
            (asked) => Object.fromEntries(all(asked).map((user) => [user.id, user])),
            (asked) => [null, ...all(asked)],
            (asked) => [...all(asked), undefined],
            () => {
              throw new Error('no');
            },
            () => Promise.reject(new Error('no')),
            // Nothing of theirs is thrown away where they throw nothing at all.
            // oxlint-disable-next-line prefer-promise-reject-errors
            () => Promise.reject(undefined),
          ];
          for (const many of fine) {
            crowd.many = many;
            expect(await authenticate(app, tokens)).toEqual(everybody);
          }
          crowd.many = (asked) => all(asked.filter((id) => id !== 'eve'));
          expect(await authenticate(app, tokens)).toEqual(allBut('user_inactive'));
          for (const nobody of [[], [stranger], [7, 'ann', true]]) {
            crowd.many = () => nobody;
            expect(await authenticate(app, tokens)).toEqual(ids.map(() => 'user_inactive'));
          }
        });
      });
    }

    it('of errors: what failed for all in one turn is asked for again in the next', async () => {
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member]);
      await dataSource.getRepository(Member).save({ id: 1, email: 'ann' });
      const tokens = await tokensOf(app, dataSource, ['1', '1']);
      await dataSource.query('ALTER TABLE member RENAME TO away');
      const failing = authenticate(app, tokens);
      expect(await failing).toEqual(['unavailable', 'unavailable']);
      await dataSource.query('ALTER TABLE away RENAME TO member');
      expect(await authenticate(app, tokens)).toMatchObject([{ id: 1 }, { id: 1 }]);
    });
  });
});

/** A table of users, its rows, and what else there is to know of it. */
interface Users {
  entity: Type<{ id: unknown }>;
  rows: object[];
  /** Other entities, and what is put into their tables first. */
  others?: [entity: Type, rows: object[]][];
  /** Whether users are selected together with their tokens; false where TypeORM is asked for them. */
  joined: boolean;
  typeOrm?: object;
  /** Done when the rows are there. */
  prepare?: (dataSource: DataSource) => unknown;
  databases?: DatabaseName[];
}

/** The columns that every table of users has. */
class Named {
  @Column('varchar', { length: 100, nullable: true })
  name: string | null;
}

const USER_OF = { id: 'id', username: 'name', password: 'name' } as const;

let entities = 0;

/** An entity whose primary key, or other columns, are made of options. */
function entityOf(columns: Record<string, ColumnOptions>, base: Type<object> = Named): Type {
  class Row extends base {}
  for (const [name, options] of Object.entries(columns)) {
    const decorate = options.primary ? PrimaryColumn(options as PrimaryColumnOptions) : Column(options);
    decorate(Row.prototype, name);
  }
  Entity(`looked_up_${++entities}`)(Row);
  return Row;
}

const byKey = (key: ColumnOptions, ids: unknown[], joined: boolean, more: Partial<Users> = {}): Users => ({
  entity: entityOf({ id: { primary: true, ...key } }),
  rows: ids.map((id) => ({ id, name: `user ${String(id)}` })),
  joined,
  ...more,
});

const SNOWFLAKES = ['7', '1580661436132757506', '9223372036854775807', '-9223372036854775808', '0', '-5'];
const UUIDS = ['01b8e094-9b2e-7000-8000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', randomUUID()];
const NAMES = ['ann', 'bob smith', "o'neill", 'null', '42', 'é', '名'];

const PLAIN = (database: DatabaseName): Record<string, Users> => ({
  'a number': byKey({ type: 'integer' }, [1, 2, 2_147_483_647, -1], true),
  'a small number': byKey({ type: 'smallint' }, [1, 2, 32_767], true),
  // TypeORM rounds it on SQLite.
  'a large number': byKey({ type: 'bigint' }, database === 'sqlite' ? [1, 2, 4_294_967_296] : SNOWFLAKES, true),
  'a large number without a sign': byKey(
    { type: 'bigint', unsigned: true },
    ['1', '9223372036854775808', '18446744073709551615'],
    true,
    { databases: ['mariadb'] },
  ),
  'a UUID': byKey({ type: 'uuid' }, UUIDS, database !== 'mariadb'),
  'a text': byKey({ type: 'varchar', length: 100 }, NAMES, database !== 'mariadb'),
  'a text whose collation is known': byKey(
    { type: 'varchar', length: 100, charset: 'utf8mb4', collation: 'utf8mb4_unicode_ci' },
    NAMES,
    true,
    { databases: ['mariadb'] },
  ),
  'a text in Latin-1': byKey(
    { type: 'varchar', length: 100, charset: 'latin1', collation: 'latin1_swedish_ci' },
    ['ann', 'José', 'BOB', '?'],
    true,
    { databases: ['mariadb'] },
  ),
  'a number that a transformer makes': byKey(
    { type: 'integer', transformer: { to: (id: unknown) => Number(id) + 1000, from: (id: number) => id - 1000 } },
    [1, 2, 1001],
    false,
  ),
  'what a transformer makes of it': byKey(
    {
      type: 'varchar',
      length: 100,
      transformer: { to: (id: unknown) => (typeof id === 'string' ? `x${id}` : id), from: (id: string) => id.slice(1) },
    },
    ['ann', 'bob'],
    false,
  ),
});

/** Values of columns of each type that a database has. */
const COLUMNS: Record<DatabaseName, Record<string, [options: ColumnOptions, value: unknown]>> = {
  sqlite: {
    number: [{ type: Number }, 7],
    real: [{ type: 'real' }, 0.1],
    date: [{ type: 'date' }, '2030-01-02'],
    datetime: [{ type: 'datetime' }, new Date('2030-01-02T03:04:05.678Z')],
    time: [{ type: 'time' }, '03:04:05'],
    flag: [{ type: Boolean }, true],
    json: [{ type: 'simple-json' }, { a: [1, 'b', null] }],
    list: [{ type: 'simple-array' }, ['a', 'b']],
    choice: [{ type: 'simple-enum', enum: ['a', 'b'] }, 'b'],
    transformed: [
      { type: 'varchar', transformer: { to: (text: string) => `${text}!`, from: (text: string) => `${text}?` } },
      'a',
    ],
    nothing: [{ type: 'varchar', nullable: true }, null],
  },
  postgres: {
    number: [{ type: Number }, 7],
    bigint: [{ type: 'bigint' }, '9007199254740993'],
    real: [{ type: 'real' }, 0.1],
    double: [{ type: 'double precision' }, 0.1],
    numeric: [{ type: 'numeric', precision: 10, scale: 2 }, '1.10'],
    date: [{ type: 'date' }, '2030-01-02'],
    timestamp: [{ type: 'timestamp' }, new Date('2030-01-02T03:04:05.678Z')],
    instant: [{ type: 'timestamptz' }, new Date('2030-01-02T03:04:05.678Z')],
    time: [{ type: 'time' }, '03:04:05.25'],
    interval: [{ type: 'interval' }, '1 day 02:00:00'],
    flag: [{ type: Boolean }, true],
    json: [{ type: 'json' }, { a: [1, 'b', null] }],
    jsonb: [{ type: 'jsonb' }, { a: [1, 'b', null] }],
    list: [{ type: 'simple-array' }, ['a', 'b']],
    texts: [{ type: 'varchar', array: true }, ['a', 'b,c', '"']],
    numbers: [{ type: 'int', array: true }, [1, 2]],
    choice: [{ type: 'enum', enum: ['a', 'b'] }, 'b'],
    choices: [{ type: 'enum', enum: ['a', 'b'], array: true }, ['b', 'a']],
    bytes: [{ type: 'bytea' }, Buffer.from([0, 1, 255])],
    point: [{ type: 'point' }, '(1,2)'],
    inet: [{ type: 'inet' }, '127.0.0.1'],
    nothing: [{ type: 'varchar', nullable: true }, null],
  },
  mariadb: {
    number: [{ type: Number }, 7],
    tiny: [{ type: 'tinyint', unsigned: true }, 200],
    small: [{ type: 'smallint' }, -7],
    medium: [{ type: 'mediumint' }, -7],
    bigint: [{ type: 'bigint' }, '9007199254740993'],
    bigSmall: [{ type: 'bigint' }, '7'],
    bigUnsigned: [{ type: 'bigint', unsigned: true }, '18446744073709551615'],
    double: [{ type: 'double' }, 0.1],
    decimal: [{ type: 'decimal', precision: 10, scale: 2 }, '1.10'],
    date: [{ type: 'date' }, '2030-01-02'],
    datetime: [{ type: 'datetime', precision: 6 }, new Date('2030-01-02T03:04:05.678Z')],
    midnight: [{ type: 'datetime' }, new Date('2030-01-02T00:00:00.000Z')],
    timestamp: [{ type: 'timestamp', precision: 3 }, new Date('2030-01-02T03:04:05.678Z')],
    year: [{ type: 'year' }, 2030],
    char: [{ type: 'char', length: 4 }, 'a'],
    text: [{ type: 'text' }, '😀'],
    latin: [{ type: 'varchar', length: 9, charset: 'latin1', collation: 'latin1_bin' }, 'é'],
    bytes: [{ type: 'blob' }, Buffer.from([0, 1, 255])],
    binary: [{ type: 'binary', length: 3 }, Buffer.from([0, 1, 255])],
    flag: [{ type: Boolean }, true],
    bit: [{ type: 'bit' }, Buffer.from([1])],
    json: [{ type: 'json' }, { a: [1, 'b', null] }],
    simpleJson: [{ type: 'simple-json' }, { a: 1 }],
    list: [{ type: 'simple-array' }, ['a', 'b']],
    choice: [{ type: 'enum', enum: ['a', 'b'] }, 'b'],
    choices: [{ type: 'set', enum: ['a', 'b'] }, ['a', 'b']],
    nothing: [{ type: 'varchar', nullable: true }, null],
  },
};

/** Those that TypeORM reads in a way of its own, or that a driver reads otherwise from a prepared statement. */
const SPECIAL: Record<DatabaseName, Record<string, [options: ColumnOptions, value: unknown]>> = {
  sqlite: { json: [{ type: 'jsonb' }, { a: 1 }] },
  postgres: {},
  mariadb: {
    point: [{ type: 'point' }, 'POINT(1 2)'],
    float: [{ type: 'float' }, 0.1],
    time: [{ type: 'time' }, '03:04:05'],
    fraction: [{ type: 'time', precision: 3 }, '-30:04:05.25'],
  },
};

describe('A user of typeOrmUsers is what the repository finds', () => {
  onEveryDatabase((environment) => {
    afterEach(() => environment.closeApplications());

    /** Looks up all of the users in one turn. */
    async function expectFound(
      { entity, rows, others = [], joined, typeOrm, prepare }: Users,
      store?: Type<UserStore>,
    ) {
      const users = store ?? typeOrmUsers(entity as Type, USER_OF);
      const { app, dataSource } = await bootOver(environment, users, [entity, ...others.map(([other]) => other)], {
        typeOrm,
      });
      for (const [other, those] of others) await dataSource.getRepository(other).save(those);
      const repository = dataSource.getRepository(entity);
      for (const row of rows) await repository.save(repository.create(row));
      await prepare?.(dataSource);
      const ids = rows.map((row) => (row as { id: unknown }).id);
      const tokens = await tokensOf(app, dataSource, ids);
      await app.nest.get(TokenPruner).beforeApplicationShutdown();
      const statements = await Statements.of(dataSource);
      const lines = warnings.length;
      const found = await authenticate(app, tokens);
      const sent = statements.take();
      statements.close();
      const expected = await Promise.all(ids.map((id) => repository.findOneBy({ id: id as string })));
      expect(found).toEqual(expected.map((user) => user ?? 'user_inactive'));
      for (const [at, user] of found.entries()) {
        if (typeof user === 'object') expect(Object.getPrototypeOf(user)).toBe(Object.getPrototypeOf(expected[at]));
      }
      expect(sent.length === 1).toBe(joined);
      expect(warnings.slice(lines)).toEqual([]);
      return { app, dataSource, tokens, found: found as any[] };
    }

    for (const [key, users] of Object.entries(PLAIN(environment.databaseName))) {
      if (users.databases && !users.databases.includes(environment.databaseName)) continue;
      it(`by a primary key that is ${key}`, async () => {
        const { found } = await expectFound(users);
        expect(found.map(({ id }) => id)).toEqual(users.rows.map((row) => (row as { id: unknown }).id));
      });
    }

    for (const [kind, columns, joined] of [
      ['of every type', COLUMNS, true],
      ['of types that TypeORM reads in its own way', SPECIAL, false],
    ] as const) {
      const all = Object.entries(columns[environment.databaseName]);
      for (const [column, [options, value]] of joined ? [] : all) {
        it(`with a column ${column} ${kind}`, async () => {
          const entity = entityOf({ id: { primary: true, type: 'integer' }, [column]: options });
          await expectFound({ entity, rows: [{ id: 1, name: 'ann', [column]: value }], joined });
        });
      }
      if (!joined) continue;
      for (const typeOrm of [{}, { timezone: '+02:00' }, { dateStrings: true }]) {
        if (Object.keys(typeOrm).length > 0 && environment.databaseName !== 'mariadb') continue;
        it(`with columns ${kind}, and ${JSON.stringify(typeOrm)}`, async () => {
          const entity = entityOf({
            id: { primary: true, type: 'integer' },
            ...Object.fromEntries(all.map(([column, [options]]) => [column, options])),
          });
          const row = Object.fromEntries(all.map(([column, [, value]]) => [column, value]));
          await expectFound({ entity, rows: [{ id: 1, name: 'ann', ...row }], joined, typeOrm });
        });
      }
    }

    @Entity('looked_up_team')
    class Team {
      @PrimaryColumn('integer')
      id: number;

      @Column()
      title: string;
    }

    const TEAM = { id: 9, title: 'Nine' };
    const ROWS = [1, 2, 3].map((id) => ({ id, name: `user ${id}`, team: TEAM }));

    class Numbered extends Named {
      @PrimaryColumn('integer')
      id: number;
    }

    it('with an eager relation, which is loaded', async () => {
      @Entity('looked_up_eager')
      class Eager extends Numbered {
        @ManyToOne(() => Team, { eager: true })
        team: Team;
      }
      const { found } = await expectFound({ entity: Eager, rows: ROWS, others: [[Team, [TEAM]]], joined: false });
      expect(found.map(({ team }) => team)).toEqual([TEAM, TEAM, TEAM]);
    });

    it('with a relation that is not loaded, nor is its column shown', async () => {
      @Entity('looked_up_related')
      class Related extends Numbered {
        @ManyToOne(() => Team)
        team: Team;
      }
      const { found } = await expectFound({ entity: Related, rows: ROWS, others: [[Team, [TEAM]]], joined: true });
      expect(found[0]).toEqual({ id: 1, name: 'user 1' });
    });

    it('with the column of a relation, which is shown', async () => {
      @Entity('looked_up_related_too')
      class Related extends Numbered {
        @Column({ name: 'team_id', nullable: true })
        teamId: number;

        @ManyToOne(() => Team)
        @JoinColumn({ name: 'team_id' })
        team: Team;
      }
      const { found } = await expectFound({ entity: Related, rows: ROWS, others: [[Team, [TEAM]]], joined: true });
      expect(found[0]).toEqual({ id: 1, name: 'user 1', teamId: 9 });
    });

    it('with the id of a relation', async () => {
      @Entity('looked_up_relation_id')
      class Related extends Numbered {
        @ManyToOne(() => Team)
        team: Team;

        @RelationId('team')
        teamId: number;
      }
      const { found } = await expectFound({ entity: Related, rows: ROWS, others: [[Team, [TEAM]]], joined: false });
      expect(found[0]).toEqual({ id: 1, name: 'user 1', teamId: 9 });
    });

    it('with a lazy relation, which is loaded when it is asked for', async () => {
      @Entity('looked_up_lazy')
      class Lazy extends Numbered {
        @ManyToOne(() => Team)
        team: Promise<Team>;
      }
      const { found } = await expectFound({ entity: Lazy, rows: ROWS, others: [[Team, [TEAM]]], joined: false });
      expect(await Promise.all(found.map(({ team }) => team as Promise<Team>))).toEqual([TEAM, TEAM, TEAM]);
    });

    it('as what a listener of its own, or of what is embedded, makes of it', async () => {
      class Address {
        @Column('varchar', { nullable: true })
        city: string | null;

        shout: string;

        @AfterLoad()
        raiseVoice() {
          this.shout = String(this.city).toUpperCase();
        }
      }
      @Entity('looked_up_listening')
      class Listening extends Numbered {
        greeting: string;

        @AfterLoad()
        greet() {
          this.greeting = `Hello ${this.name}`;
        }
      }
      @Entity('looked_up_listening_inside')
      class ListeningInside extends Numbered {
        @Column(() => Address)
        address: Address;
      }
      const rows = ROWS.map(({ id, name }) => ({ id, name, address: { city: 'Ulm' } }));
      const { found } = await expectFound({ entity: Listening, rows, joined: false });
      expect(found[2].greeting).toBe('Hello user 3');
      const inside = await expectFound({ entity: ListeningInside, rows, joined: false });
      expect(inside.found[2].address.shout).toBe('ULM');
    });

    it('as what a subscriber makes of it, also one that came later', async () => {
      @Entity('looked_up_subscribed')
      class Subscribed extends Numbered {
        seen?: boolean;
      }
      @EventSubscriber()
      class Seer implements EntitySubscriberInterface<Subscribed> {
        listenTo = () => Subscribed;
        afterLoad(user: Subscribed) {
          user.seen = true;
        }
      }
      @EventSubscriber()
      class Deaf implements EntitySubscriberInterface {
        afterInsert() {}
      }
      await expectFound({ entity: Subscribed, rows: ROWS, joined: true, typeOrm: { subscribers: [Deaf] } });
      const prepared = { entity: Subscribed, rows: ROWS, joined: false };
      const { found } = await expectFound({ ...prepared, typeOrm: { subscribers: [Seer] } });
      expect(found[0].seen).toBe(true);
      const { app, dataSource, tokens } = await expectFound({ ...prepared, joined: true });
      dataSource.subscribers.push(new Seer());
      expect(await authenticate(app, tokens)).toMatchObject([{ seen: true }, { seen: true }, { seen: true }]);
    });

    it('and nobody once it is softly deleted', async () => {
      @Entity('looked_up_deleted')
      class Deletable extends Numbered {
        @DeleteDateColumn()
        deletedAt: Date | null;
      }
      const { found, app, dataSource, tokens } = await expectFound({
        entity: Deletable,
        rows: ROWS,
        joined: false,
        prepare: (source) => source.getRepository(Deletable).softDelete({ id: 2 }),
      });
      expect(found[1]).toBe('user_inactive');
      await dataSource.getRepository(Deletable).restore({ id: 2 });
      expect(await authenticate(app, tokens)).toMatchObject(ROWS.map(({ id }) => ({ id })));
    });

    it('with what is embedded in it, at any depth and empty too', async () => {
      class Place {
        @Column('varchar', { nullable: true })
        street: string | null;
      }
      class Address {
        @Column('varchar', { nullable: true })
        city: string | null;

        @Column(() => Place)
        place: Place;
      }
      @Entity('looked_up_embedding')
      class Embedding extends Numbered {
        @Column(() => Address)
        home: Address;

        @Column(() => Address, { prefix: 'work' })
        work: Address;
      }
      const { found } = await expectFound({
        entity: Embedding,
        rows: [{ id: 1, home: { city: 'Ulm', place: { street: 'Gasse' } }, work: { city: null } }, { id: 2 }],
        joined: true,
      });
      expect(found[0].home.place).toBeInstanceOf(Place);
      expect(found[0].home).toEqual({ city: 'Ulm', place: { street: 'Gasse' } });
    });

    it('with a virtual column', async () => {
      @Entity('looked_up_virtual')
      class Virtual extends Numbered {
        @VirtualColumn({ query: (alias) => `SELECT COUNT(*) FROM looked_up_virtual o WHERE o.id < ${alias}.id` })
        rank: number;
      }
      const { found } = await expectFound({ entity: Virtual, rows: ROWS, joined: false });
      expect(found.map(({ rank }) => Number(rank))).toEqual([0, 1, 2]);
    });

    it('of the class that it is of, where several share a table', async () => {
      @Entity('looked_up_inherited')
      @TableInheritance({ column: { type: 'varchar', name: 'kind' } })
      class Parent extends Numbered {}
      @ChildEntity()
      class Child extends Parent {
        @Column('varchar', { nullable: true })
        toy: string | null;
      }
      @ChildEntity()
      class Sibling extends Parent {}
      const siblings = { prepare: (source: DataSource) => source.getRepository(Sibling).save({ id: 4, name: 'eve' }) };
      const shared = { rows: [{ id: 1, name: 'ann', toy: 'ball' }, { id: 4 }], joined: false };
      const others: Users['others'] = [
        [Parent, []],
        [Child, [{ id: 1, name: 'ann', toy: 'ball' }]],
        [Sibling, [{ id: 4, name: 'eve' }]],
      ];
      const all = await expectFound({ ...shared, rows: [{ id: 1 }, { id: 4 }], entity: Parent, others });
      expect(all.found.map((user) => (user as object).constructor)).toEqual([Child, Sibling]);
      const { app, dataSource } = await bootOver(environment, typeOrmUsers(Child, USER_OF), [Parent, Child, Sibling]);
      await siblings.prepare(dataSource);
      const tokens = await tokensOf(app, dataSource, [1, 4]);
      expect(await authenticate(app, tokens)).toEqual([
        await dataSource.getRepository(Child).findOneBy({ id: 1 }),
        'user_inactive',
      ]);
    });

    it('made as TypeORM makes it, with its constructor or without', async () => {
      let constructed = 0;
      @Entity('looked_up_constructed')
      class Constructed extends Numbered {
        roles: string[];

        constructor() {
          super();
          constructed++;
          this.roles = ['user'];
        }
      }
      await expectFound({ entity: Constructed, rows: ROWS, joined: true });
      const { app, tokens } = await expectFound({
        entity: Constructed,
        rows: ROWS,
        joined: true,
        typeOrm: { entitySkipConstructor: true },
      });
      constructed = 0;
      expect(await authenticate(app, tokens)).toEqual(ROWS.map(({ id, name }) => ({ id, name })));
      expect(constructed).toBe(0);
    });

    it('in a table, and in columns, of names that have to be quoted', async () => {
      @Entity('looked Up')
      class Quoted {
        @PrimaryColumn('integer', { name: 'order' })
        id: number;

        @Column({ name: 'Select From', nullable: true })
        name: string;
      }
      await expectFound({ entity: Quoted, rows: [{ id: 1, name: 'ann' }], joined: true });
    });

    it('as a subclass of the store finds it, which is asked for each', async () => {
      @Entity('looked_up_found')
      class Found extends Numbered {
        by?: string;
      }
      const own: string[] = [];
      class Finding extends typeOrmUsers(Found, USER_OF) {
        override async findById(id: string) {
          own.push(id);
          const user = await super.findById(id);
          return user && Object.assign(user, { by: 'itself' });
        }
      }
      const { app, dataSource } = await bootOver(environment, Finding, [Found]);
      await dataSource.getRepository(Found).save(ROWS.map(({ id, name }) => ({ id, name })));
      const tokens = await tokensOf(app, dataSource, [1, 2, 4, 3]);
      const [one, two, three] = ROWS.map(({ id, name }) => ({ id, name, by: 'itself' }));
      expect(await authenticate(app, tokens)).toEqual([one, two, 'user_inactive', three]);
      expect(own.toSorted()).toEqual(['1', '2', '3', '4']);
      expect(await authenticate(app, tokens.slice(0, 1))).toEqual([one]);
    });
  });
});

describe('The statement of a look-up', () => {
  const KEYS: Record<string, (database: DatabaseName) => ColumnOptions> = {
    integer: () => ({ type: 'integer' }),
    bigint: () => ({ type: 'bigint' }),
    uuid: (database) => (database === 'mariadb' ? { type: 'varchar', length: 36, ...ASCII } : { type: 'uuid' }),
    text: (database) => ({ type: 'varchar', length: 100, ...(database === 'mariadb' ? UTF8 : {}) }),
  };
  const ASCII = { charset: 'ascii', collation: 'ascii_bin' };
  const UTF8 = { charset: 'utf8mb4', collation: 'utf8mb4_general_ci' };
  const MANY = 1000;

  onEveryDatabase((environment) => {
    afterEach(() => environment.closeApplications());

    /** Whether a plan reads tables, or parts of them, by nothing but their primary keys, and how it does if not. */
    async function scansOf(dataSource: DataSource, { sql, values }: Sent): Promise<string[]> {
      const runner = dataSource.createQueryRunner('master');
      const connection = await runner.connect();
      try {
        if (environment.databaseName === 'sqlite') {
          const rows: { detail: string }[] = connection.prepare(`EXPLAIN QUERY PLAN ${sql}`).all(values);
          return rows
            .map(({ detail }) => detail.replaceAll(/\s*\(.*/g, ''))
            .filter((detail) => !detail.startsWith('LIST'));
        }
        if (environment.databaseName === 'postgres') {
          const { rows } = await connection.query({ text: `EXPLAIN ${sql}`, values });
          const lines: string[] = rows.map((row: Record<string, string>) => row['QUERY PLAN']);
          return lines.flatMap(
            (line) => /(Seq Scan|Index (?:Only )?Scan|Bitmap Heap Scan) .*?on \w+/.exec(line)?.[0] ?? [],
          );
        }
        const rows = await new Promise<Record<string, unknown>[]>((resolve, reject) => {
          connection.execute(`EXPLAIN ${sql}`, values, (error: Error | null, found: Record<string, unknown>[]) =>
            error ? reject(error) : resolve(found),
          );
        });
        return rows.map(({ table, type, key }) => `${String(table)} ${String(type)} ${String(key)}`);
      } finally {
        await runner.release();
      }
    }

    for (const [key, options] of Object.entries(KEYS)) {
      it(`finds users by their primary key: ${key}`, async () => {
        const entity = entityOf({ id: { primary: true, ...options(environment.databaseName) } });
        const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
        const isNumber = key === 'integer' || key === 'bigint';
        const ids = Array.from({ length: MANY }, (_, at) => (isNumber ? at + 1 : randomUUID()));
        for (let at = 0; at < MANY; at += 500) {
          await dataSource.getRepository(entity).insert(ids.slice(at, at + 500).map((id) => ({ id, name: 'x' })));
        }
        const tokens = await tokensOf(app, dataSource, ids);
        const { tableName } = dataSource.getMetadata(entity);
        // Few tokens it rather reads as a whole.
        if (environment.databaseName === 'postgres') {
          await dataSource.query(
            `INSERT INTO auth_token (id, user_id, device_id, purpose, digest, created)
            SELECT gen_random_uuid(), 'nobody', gen_random_uuid(), 'access', '', 0 FROM generate_series(1, 10000)`,
          );
        }
        await dataSource.query(
          environment.databaseName === 'mariadb' ? `ANALYZE TABLE ${tableName}, auth_token` : 'ANALYZE',
        );
        const statements = await Statements.of(dataSource);
        for (const many of [1, 5, 100]) {
          const found = await authenticate(app, tokens.slice(0, many));
          expect(found).toHaveLength(many);
          const [sent] = statements.take().filter(({ sql }) => / JOIN /.test(sql));
          const scans = await scansOf(dataSource, sent!);
          const expected = {
            sqlite: [
              'SEARCH t USING PRIMARY KEY',
              expect.stringMatching(/^SEARCH u USING (?:INTEGER PRIMARY KEY|INDEX sqlite_autoindex_\w+)/),
            ],
            postgres: [
              expect.stringMatching(/^(?:Index Scan using "?PK_\w+"?|Bitmap Heap Scan) on auth_token$/),
              expect.stringMatching(/^Index Scan using "?PK_\w+"? on looked_up_\d+$/),
            ],
            mariadb: [
              expect.stringMatching(/^t (?:const|range) PRIMARY$/),
              expect.stringMatching(/^u (?:const|eq_ref) PRIMARY$/),
            ],
          }[environment.databaseName];
          expect(scans).toEqual(expected);
        }
        statements.close();
      });
    }

    it('goes without users where their ids are of another type or collation than the entity says, who get in all the same', async () => {
      const changes: Record<string, Partial<Record<DatabaseName, string[]>>> = {
        integer: {
          postgres: ['ALTER TABLE {} ALTER COLUMN id TYPE varchar(20)'],
          mariadb: ['ALTER TABLE {} MODIFY id varchar(20)'],
        },
        uuid: {
          postgres: ['ALTER TABLE {} ALTER COLUMN id TYPE varchar(36)'],
          mariadb: ['ALTER TABLE {} MODIFY id varchar(36) CHARACTER SET latin1'],
        },
        text: {
          postgres: [
            'ALTER TABLE {} ALTER COLUMN id TYPE varchar(100) COLLATE "C"',
            'ALTER TABLE auth_token ALTER COLUMN user_id TYPE varchar(255) COLLATE "POSIX"',
          ],
          mariadb: [
            'ALTER TABLE {} MODIFY id varchar(100) CHARACTER SET latin1',
            'ALTER TABLE auth_token MODIFY user_id varchar(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci',
          ],
        },
      };
      if (environment.databaseName === 'sqlite') return;
      for (const [key, statements] of Object.entries(changes)) {
        const entity = entityOf({ id: { primary: true, ...KEYS[key]!(environment.databaseName) } });
        const { app, dataSource } = await bootOver(environment, typeOrmUsers(entity, USER_OF), [entity]);
        const ids = key === 'integer' ? [1, 2, 3] : [randomUUID(), randomUUID(), randomUUID()];
        await dataSource.getRepository(entity).insert(ids.map((id) => ({ id, name: 'x' })));
        const tokens = await tokensOf(app, dataSource, ids);
        // Prepared before, and after.
        expect(await authenticate(app, tokens)).toMatchObject(ids.map((id) => ({ id })));
        const lines = warnings.length;
        for (const sql of statements[environment.databaseName]!) {
          await dataSource.query(sql.replace('{}', dataSource.getMetadata(entity).tableName));
        }
        for (let turn = 0; turn < 2; turn++) {
          const found = (await authenticate(app, tokens)) as { id: unknown }[];
          expect(found.map(({ id }) => String(id))).toEqual(ids.map(String));
        }
        if (environment.databaseName !== 'postgres') continue;
        const told = warnings.slice(lines).filter((line) => line.includes('Users are looked up apart'));
        expect(told).toHaveLength(1);
      }
    });
  });
});

describe('On PostgreSQL a look-up', () => {
  onEveryDatabase(
    (environment) => {
      afterEach(() => environment.closeApplications());

      for (const analyzed of [false, true]) {
        it(`is planned a few times, and kept, in tables ${analyzed ? 'whose size is known' : 'that grew just now'}`, async () => {
          const { app, dataSource } = await bootOver(environment, typeOrmUsers(Member, MEMBER), [Member], {
            typeOrm: { extra: { max: 1 } },
          });
          await dataSource.getRepository(Member).deleteAll();
          const members = Array.from({ length: 1000 }, (_, at) => ({ id: at + 1, email: `${at}@example.org` }));
          await dataSource.getRepository(Member).insert(members);
          const tokens = await tokensOf(
            app,
            dataSource,
            members.flatMap(({ id }) => [id, id, id]),
          );
          if (analyzed) await dataSource.query('ANALYZE');
          const sizes = [1, 30, 2, 1, 3, 7, 60, 12];
          for (let turn = 0; turn < 320; turn++) {
            const from = (turn * 31) % 2900;
            const found = await authenticate(app, tokens.slice(from, from + sizes[turn % sizes.length]!));
            expect(found.every((user) => typeof user === 'object')).toBe(true);
          }
          const plans: { kept: number; made: number }[] = await dataSource.query(
            `SELECT generic_plans::int AS kept, custom_plans::int AS made FROM pg_prepared_statements
            WHERE name LIKE 'expiring-token:%' AND statement LIKE '%LEFT JOIN%'`,
          );
          // One statement for any number of tokens. PostgreSQL plans it five times before it compares.
          expect(plans).toEqual([{ made: 5, kept: 315 }]);
        });
      }

      for (const command of ['DEALLOCATE ALL', 'DISCARD ALL']) {
        it(`goes on after ${command}, and no request has an error`, async () => {
          const max = 4;
          const app = await environment.boot({ typeOrm: { extra: { max } } });
          const tokens = await Promise.all(Array.from({ length: 20 }, () => app.token()));
          const everywhere = async (sql: string) => {
            const runners = Array.from({ length: max }, () => app.dataSource.createQueryRunner());
            await Promise.all(runners.map((runner) => runner.connect()));
            await Promise.all(runners.map((runner) => runner.query(sql)));
            await Promise.all(runners.map((runner) => runner.release()));
          };
          const statuses = async () => {
            const answers = await Promise.all(tokens.map((token) => app.get('/me', token)));
            return new Set(answers.map(({ status }) => status));
          };
          const lines = warnings.length;
          for (let round = 0; round < 3; round++) {
            expect(await statuses()).toEqual(new Set([200]));
            await app.usesWritten();
            await everywhere(command);
          }
          expect(await statuses()).toEqual(new Set([200]));
          const [told, ...others] = warnings.slice(lines);
          expect(told).toMatch(/PostgreSQL keeps no prepared statements/);
          expect(others).toEqual([]);
        });
      }
    },
    ['postgres'],
  );
});
