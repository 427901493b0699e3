import { randomUUID } from 'node:crypto';
import type { Type } from '@nestjs/common';
import { typeOrmUsers, type UserStore } from 'nestjs-expiring-token';
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
  RelationId,
  TableInheritance,
  VirtualColumn,
} from 'typeorm';
import { afterEach, describe, expect, it } from 'vitest';
import { TokenPruner } from '../../lib/tokens/token.pruner.js';
import { onEveryDatabase, warnings } from '../fixtures/app.js';
import type { DatabaseName } from '../fixtures/databases.js';
import { authenticate, bootOver, entityOf, Named, tokensOf, USER_OF } from '../fixtures/lookups.js';
import { Statements } from '../fixtures/statements.js';
import { isOlder } from '../fixtures/versions.js';

/** A table of users, its rows, and the expectation. */
interface Users {
  entity: Type<{ id: unknown }>;
  rows: object[];
  /** Other entities, and the rows that are saved into their tables first. */
  others?: [entity: Type, rows: object[]][];
  /** Whether users are selected in the same statement as their tokens. If false, TypeORM loads them. */
  joined: boolean;
  typeOrm?: object;
  /** Runs after the rows are saved. */
  prepare?: (dataSource: DataSource) => unknown;
  databases?: DatabaseName[];
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
  // On SQLite, TypeORM rounds larger numbers.
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

/** A value for a column of each type of a database. */
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

/** Columns that TypeORM converts in a special way, or that a driver decodes differently from a prepared statement. */
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

describe('A user of typeOrmUsers equals what the repository finds', () => {
  onEveryDatabase((environment) => {
    afterEach(() => environment.closeApplications());

    /** Looks up all users in one turn, and compares them with what the repository finds. */
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
        if (typeof user === 'object')
          expect(Object.getPrototypeOf(user), `user ${at}`).toBe(Object.getPrototypeOf(expected[at]));
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
        // TypeORM 0.3 has no jsonb on SQLite.
        const isNew = environment.databaseName === 'sqlite' && options.type === 'jsonb';
        const title = `with a column ${column} ${kind}${isNew ? ', with TypeORM 1' : ''}`;
        it.skipIf(isNew && isOlder('typeorm', '1.0.0'))(title, async () => {
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

    it('with a relation that is not loaded and whose column is not selected', async () => {
      @Entity('looked_up_related')
      class Related extends Numbered {
        @ManyToOne(() => Team)
        team: Team;
      }
      const { found } = await expectFound({ entity: Related, rows: ROWS, others: [[Team, [TEAM]]], joined: true });
      expect(found[0]).toEqual({ id: 1, name: 'user 1' });
    });

    it('with the column of a relation, which is selected', async () => {
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

    it('with a @RelationId property', async () => {
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

    it('with a lazy relation, which is loaded on access', async () => {
      @Entity('looked_up_lazy')
      class Lazy extends Numbered {
        @ManyToOne(() => Team)
        team: Promise<Team>;
      }
      const { found } = await expectFound({ entity: Lazy, rows: ROWS, others: [[Team, [TEAM]]], joined: false });
      expect(await Promise.all(found.map(({ team }) => team as Promise<Team>))).toEqual([TEAM, TEAM, TEAM]);
    });

    it('with an @AfterLoad listener, of the user or of an embedded entity', async () => {
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

    it('with a subscriber, also one that was added after the start', async () => {
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

    it('and is not found after a soft deletion', async () => {
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

    it('with embedded entities, nested and empty ones', async () => {
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

    it('with a class of a single-table inheritance', async () => {
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

    it('whether TypeORM calls its constructor or not', async () => {
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

    it('with table and column names that have to be quoted', async () => {
      @Entity('looked Up')
      class Quoted {
        @PrimaryColumn('integer', { name: 'order' })
        id: number;

        @Column({ name: 'Select From', nullable: true })
        name: string;
      }
      await expectFound({ entity: Quoted, rows: [{ id: 1, name: 'ann' }], joined: true });
    });

    it('through a subclass of the store that overrides findById', async () => {
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
