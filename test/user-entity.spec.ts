import { hash } from '@node-rs/argon2';
import type { Type } from '@nestjs/common';
import { compare, hashSync } from 'bcryptjs';
import { hashPassword, typeOrmUsers, type TypeOrmUsers, type UserProperties } from 'nestjs-expiring-token';
import {
  AfterLoad,
  Column,
  type ColumnOptions,
  DeleteDateColumn,
  Entity,
  type EntitySubscriberInterface,
  EventSubscriber,
  Index,
  ManyToOne,
  type ObjectLiteral,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  VirtualColumn,
} from 'typeorm';
import { describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, onOneEnvironment, PASSWORD, type TestEnvironment, warnings } from './fixtures/app.js';

const FIELDS = { id: 'id', username: 'email', password: 'passwordHash' } as const;
const CHEAP = { memoryCost: 1024, timeCost: 1, parallelism: 1 };

let entities = 0;

/** An entity with these columns, in a table that no other test has. */
function entityOf(columns: Record<string, ColumnOptions>): Type<ObjectLiteral> {
  class Tested {}
  const all: Record<string, ColumnOptions> = {
    id: { type: 'integer', primary: true },
    email: { type: 'varchar', length: 100 },
    passwordHash: { type: 'varchar', length: 255, nullable: true },
    ...columns,
  };
  for (const [name, options] of Object.entries(all)) Column(options)(Tested.prototype, name);
  Entity(`tested_entity_${entities++}`)(Tested);
  return Tested;
}

const bootOver = (environment: TestEnvironment, entity: Type<ObjectLiteral>, properties: object = FIELDS) =>
  environment.boot({
    options: { users: typeOrmUsers(entity, properties as UserProperties<ObjectLiteral>) },
    typeOrm: { entities: [entity] },
  });

/** Makes an object of a value. */
const toObject = { to: (id: unknown) => id, from: (value: unknown) => ({ value }) };
const PRIMARY = { primary: true } as const;

describe('The start is stopped by a property of typeOrmUsers that cannot be used as', () => {
  const ID = 'Name a unique property that is a text, a UUID or a number.';
  const TEXT = 'Name a property that is a text.';
  const FLAG = 'Name a boolean property, or leave active out and override isActive in a subclass.';
  const UNUSABLE: [role: string, columns: Record<string, ColumnOptions>, error: string][] = [
    ['id', { id: { type: 'blob', ...PRIMARY } }, `Tested.id is of type blob, which cannot be used as id. ${ID}`],
    [
      'id',
      { id: { type: 'simple-json', ...PRIMARY } },
      `Tested.id is of type simple-json, which cannot be used as id. ${ID}`,
    ],
    ['id', { id: { type: 'simple-array', ...PRIMARY } }, `Tested.id is of type simple-array`],
    ['id', { id: { type: 'boolean', ...PRIMARY } }, `Tested.id is of type boolean`],
    ['id', { id: { type: 'datetime', ...PRIMARY } }, `Tested.id is of type datetime`],
    [
      'id',
      { id: { type: 'varchar', transformer: toObject, ...PRIMARY } },
      `Tested.id has a transformer that makes objects, which cannot be used as id. ${ID}`,
    ],
    ['id', { id: { type: 'integer', transformer: toObject, ...PRIMARY } }, 'Tested.id has a transformer'],
    [
      'username',
      { email: { type: 'integer' } },
      `Tested.email is of type integer, which cannot be used as username. ${TEXT}`,
    ],
    [
      'password',
      { passwordHash: { type: 'blob' } },
      `Tested.passwordHash is of type blob, which cannot be used as password. ${TEXT}`,
    ],
    ['active', { active: { type: 'text' } }, `Tested.active is of type text, which cannot be used as active. ${FLAG}`],
    ['active', { active: { type: 'datetime', nullable: true } }, `Tested.active is of type datetime`],
    ['active', { active: { type: 'blob' } }, `Tested.active is of type blob`],
    ['active', { active: { type: 'bigint' } }, `Tested.active is of type bigint`],
  ];
  const USABLE: [name: string, columns: Record<string, ColumnOptions>][] = [
    ['a text', { id: { type: 'varchar', ...PRIMARY } }],
    [
      'a UUID in binary form, with a transformer',
      {
        id: {
          type: 'blob',
          transformer: { to: (id: string) => Buffer.from(id, 'hex'), from: (id: Buffer) => id.toString('hex') },
          ...PRIMARY,
        },
      },
    ],
    ['a bigint', { id: { type: 'bigint', ...PRIMARY } }],
    [
      'a unique column that is not the key',
      { key: { type: 'integer', ...PRIMARY }, id: { type: 'integer', unique: true } },
    ],
    ['an integer as active', { active: { type: 'integer' } }],
    [
      'a text with a transformer as active',
      {
        active: {
          type: 'text',
          transformer: { to: (yes: boolean) => (yes ? 'Y' : 'N'), from: (text: string) => text === 'Y' },
        },
      },
    ],
  ];

  onOneEnvironment((environment) => {
    it.each(UNUSABLE)('%s: %o', async (role, columns, error) => {
      const properties = role === 'active' ? { ...FIELDS, active: 'active' } : FIELDS;
      await expect(bootOver(environment, entityOf(columns), properties)).rejects.toThrow(`users: ${error}`);
    });

    it.each(USABLE)('but not by %s', async (_, columns) => {
      const properties = 'active' in columns ? { ...FIELDS, active: 'active' } : FIELDS;
      await expect(bootOver(environment, entityOf(columns), properties)).resolves.toBeDefined();
    });
  });
});

describe('The start is stopped by an id that two users may have:', () => {
  const NOT_UNIQUE =
    /users: \w+\.id is not unique alone, so two users may have the same id\. Name the only primary column/;

  onEveryDatabase((environment) => {
    it('half of a composite key', async () => {
      const entity = entityOf({ tenant: { type: 'integer', primary: true } });
      await expect(bootOver(environment, entity)).rejects.toThrow(NOT_UNIQUE);
    });

    it('a column that is unique together with another one, or in some rows only', async () => {
      @Entity('tenant_half')
      @Index(['tenant', 'id'], { unique: true })
      class TenantHalf {
        @PrimaryGeneratedColumn()
        key: number;

        @Column()
        tenant: number;

        @Column()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true })
        passwordHash: string | null;
      }
      await expect(bootOver(environment, TenantHalf)).rejects.toThrow(NOT_UNIQUE);
    });

    it('but not by a column with a unique index of its own', async () => {
      @Entity('index_alone')
      class IndexAlone {
        @PrimaryGeneratedColumn()
        key: number;

        @Index({ unique: true })
        @Column()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true })
        passwordHash: string | null;
      }
      await expect(bootOver(environment, IndexAlone)).resolves.toBeDefined();
    });
  });
});

describe('Two users of one name', () => {
  onEveryDatabase((environment) => {
    it('are nobody, and the log says why without the name', async () => {
      const entity = entityOf({});
      const app = await bootOver(environment, entity);
      const users = app.dataSource.getRepository(entity);
      const passwordHash = await hash(PASSWORD, CHEAP);
      await users.save([
        { id: 1, email: 'a-name-of-two', passwordHash },
        { id: 2, email: 'a-name-of-two', passwordHash: await hash('another password', CHEAP) },
        { id: 3, email: 'A-name-of-two', passwordHash },
      ]);
      const before = warnings.length;
      const nobody = await app.login('nobody');
      expect(warnings.slice(before)).toEqual([]);
      for (const password of [PASSWORD, 'another password'])
        expect(await app.login('a-name-of-two', password), password).toMatchObject({ status: 401, text: nobody.text });
      expect(warnings.slice(before).join()).toContain('Two rows of Tested have the same email, so neither can log in');
      expect(warnings.slice(before).join()).not.toContain('name-of-two');
      expect((await app.login('A-name-of-two')).status).toBe(200);
    });
  });
});

describe('typeOrmUsers with verify', () => {
  const verified: string[] = [];
  const verify = (stored: string, password: string) => {
    verified.push(stored);
    return compare(password, stored);
  };

  onEveryDatabase((environment) => {
    it('accepts hashes of another kind, replaces them at the login, and costs the same for every reason of rejection', async () => {
      const entity = entityOf({ enabled: { type: 'boolean', default: true } });
      const properties = { ...FIELDS, active: 'enabled' };
      const app = await environment.boot({
        options: { users: typeOrmUsers(entity, properties as UserProperties<ObjectLiteral>, { verify }) },
        typeOrm: { entities: [entity] },
      });
      const users = app.dataSource.getRepository(entity);
      const stored = async (id: number) => (await users.findOneByOrFail({ id })).passwordHash as string;
      const bcrypt = hashSync(PASSWORD, 4);
      await users.save([
        { id: 1, email: 'Ann', passwordHash: bcrypt },
        { id: 2, email: 'argon', passwordHash: await hashPassword(PASSWORD) },
        { id: 3, email: 'none', passwordHash: null },
        { id: 4, email: 'locked', passwordHash: bcrypt, enabled: false },
        { id: 5, email: 'broken', passwordHash: '$2b$04$too-short' },
      ]);

      const nobody = await app.login('nobody');
      for (const spelling of ['ann', 'ANN', 'Ánn', 'Ann '])
        expect(await app.login(spelling), spelling).toMatchObject({ status: 401, text: nobody.text });
      expect(verified).not.toContain(bcrypt);

      expect((await app.login('Ann', 'wrong')).text).toBe(nobody.text);
      expect(await stored(1)).toBe(bcrypt);
      for (const [name, password] of [
        ['Ann', 'wrong'],
        ['nobody', PASSWORD],
        ['argon', 'wrong'],
        ['none', PASSWORD],
        ['locked', PASSWORD],
        ['broken', PASSWORD],
      ] as const) {
        verified.length = 0;
        expect((await app.login(name, password)).text, name).toBe(nobody.text);
        expect(verified, name).toHaveLength(1);
      }
      expect(await stored(4)).toBe(bcrypt);

      expect((await app.login('Ann')).status).toBe(200);
      expect(await stored(1)).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
      expect([(await app.login('Ann')).status, (await app.login('Ann', 'wrong')).status]).toEqual([200, 401]);
      expect((await app.login('argon')).status).toBe(200);
    });
  });

  onOneEnvironment((environment) => {
    it('counts a hash that verify cannot read, or anything but true, as a wrong password', async () => {
      const entity = entityOf({});
      let result: () => unknown = () => true;
      const app = await environment.boot({
        options: {
          users: typeOrmUsers(entity, FIELDS as UserProperties<ObjectLiteral>, { verify: () => result() as boolean }),
        },
        typeOrm: { entities: [entity] },
      });
      await app.dataSource.getRepository(entity).save({ id: 1, email: 'ann', passwordHash: 'md5:1234' });
      const results: (() => unknown)[] = [
        () => 1,
        () => 'yes',
        () => undefined,
        () => {
          throw new Error('of an unknown kind');
        },
        () => Promise.reject(new Error('of an unknown kind')),
      ];
      for (const [index, returned] of results.entries()) {
        result = returned;
        expect((await app.login('ann')).json.code, `result ${index}`).toBe('credentials_invalid');
      }
      result = () => true;
      expect((await app.login('ann')).status).toBe(200);
    });
  });
});

describe('A data source that caches every query', () => {
  onEveryDatabase((environment) => {
    it('does not keep deactivated and deleted users in', async () => {
      @Entity('cached_company')
      class CachedCompany {
        @PrimaryColumn()
        id: number;

        @Column()
        paid: boolean;
      }
      @Entity('cached_account')
      class CachedAccount {
        @PrimaryColumn()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true })
        passwordHash: string | null;

        @Column({ default: true })
        enabled: boolean;

        @ManyToOne(() => CachedCompany, { eager: true })
        company: CachedCompany;

        @DeleteDateColumn()
        deletedAt: Date | null;
      }
      const Users = typeOrmUsers(CachedAccount, { ...FIELDS, active: 'enabled' });
      class PayingUsers extends Users {
        override isActive(account: CachedAccount) {
          return super.isActive(account) && account.company.paid;
        }
      }
      for (const relationLoadStrategy of ['join', 'query'] as const) {
        const app = await environment.boot({
          options: { users: PayingUsers },
          typeOrm: {
            entities: [CachedAccount, CachedCompany],
            cache: { alwaysEnabled: true, duration: 3_600_000 },
            relationLoadStrategy,
            dropSchema: true,
          },
        });
        const { manager } = app.dataSource;
        const company = await manager.save(CachedCompany, { id: 1, paid: true });
        await manager.save(CachedAccount, { id: 1, email: 'ann', passwordHash: await hash(PASSWORD, CHEAP), company });
        const { token } = (await app.login('ann')).json;
        const codes = async () => [(await app.get('/me', token)).status, (await app.login('ann')).status];
        expect(await codes(), relationLoadStrategy).toEqual([200, 200]);
        await manager.update(CachedCompany, 1, { paid: false });
        expect(await codes(), `${relationLoadStrategy}, unpaid`).toEqual([401, 401]);
        await manager.update(CachedCompany, 1, { paid: true });
        expect(await codes(), `${relationLoadStrategy}, paid again`).toEqual([200, 200]);
        await manager.update(CachedAccount, 1, { enabled: false });
        expect(await codes(), `${relationLoadStrategy}, deactivated`).toEqual([401, 401]);
        await manager.update(CachedAccount, 1, { enabled: true });
        await manager.softDelete(CachedAccount, 1);
        expect(await codes(), `${relationLoadStrategy}, softly deleted`).toEqual([401, 401]);
        await manager.delete(CachedAccount, 1);
        expect(await codes(), `${relationLoadStrategy}, deleted`).toEqual([401, 401]);
      }
    });
  });
});

describe('isActive gets at a login the user that it gets on a request', () => {
  abstract class Seen {
    @PrimaryGeneratedColumn()
    id: number;

    @Column()
    email: string;

    @Column('varchar', { nullable: true, select: false })
    passwordHash?: string | null;
  }

  onEveryDatabase((environment) => {
    it.each(['eager relations', '@AfterLoad', 'a subscriber', 'virtual columns', 'an own findById'])(
      'with %s',
      async (feature) => {
        @Entity('seen_company')
        class SeenCompany {
          @PrimaryColumn()
          id: number;
        }
        @Entity('seen_eager')
        class Eager extends Seen {
          @ManyToOne(() => SeenCompany, { eager: true })
          company: SeenCompany;
        }
        @Entity('seen_listener')
        class Listener extends Seen {
          domain?: string;

          @AfterLoad()
          setDomain() {
            this.domain = this.email.split('@')[1];
          }
        }
        @Entity('seen_subscribed')
        class Subscribed extends Seen {
          loaded?: string;
        }
        @EventSubscriber()
        class Subscriber implements EntitySubscriberInterface<Subscribed> {
          listenTo = () => Subscribed;
          afterLoad = (user: Subscribed) => void Object.assign(user, { loaded: 'by a subscriber' });
        }
        @Entity('seen_virtual')
        class Virtual extends Seen {
          @VirtualColumn({ query: (alias) => `SELECT COUNT(*) FROM seen_company WHERE id <> ${alias}.id` })
          companies: number;
        }
        @Entity('seen_plain')
        class Plain extends Seen {}

        const cases: Record<string, [entity: Type<Seen>, expected: object, typeOrm?: object]> = {
          'eager relations': [Eager, { company: { id: 7 } }],
          '@AfterLoad': [Listener, { domain: 'example.org' }],
          'a subscriber': [Subscribed, { loaded: 'by a subscriber' }, { subscribers: [Subscriber] }],
          'virtual columns': [Virtual, { companies: expect.anything() }],
          'an own findById': [Plain, { tenant: 'one' }],
        };
        const [entity, expected, typeOrm] = cases[feature]!;
        const seen: unknown[] = [];
        class Users extends typeOrmUsers(entity, FIELDS) {
          override async findById(id: string) {
            const user = await super.findById(id);
            return feature === 'an own findById' && user ? Object.assign(user, { tenant: 'one' }) : user;
          }

          override isActive(user: Seen) {
            seen.push(structuredClone({ ...(user as object) }));
            return super.isActive(user);
          }
        }
        if (feature !== 'an own findById') Reflect.deleteProperty(Users.prototype, 'findById');
        const app = await environment.boot({
          options: { users: Users },
          typeOrm: { entities: [entity, SeenCompany], ...typeOrm },
        });
        const { manager } = app.dataSource;
        const company = await manager.save(SeenCompany, { id: 7 });
        const passwordHash = await hashPassword(PASSWORD);
        await manager.save(entity, { email: 'ann@example.org', passwordHash, company });
        const { json } = await app.login('ann@example.org');
        const atLogin = seen.splice(0);
        expect((await app.get('/me', json.token)).status).toBe(200);
        expect(atLogin.length).toBeGreaterThan(0);
        expect(seen.length).toBeGreaterThan(0);
        for (const user of [...atLogin, ...seen]) expect(user).toEqual({ ...(seen[0] as object), ...expected });
        const store = app.nest.get<TypeOrmUsers<Seen>>(USER_STORE);
        expect(await store.findByUsername('ann@example.org')).toMatchObject(expected);
      },
    );
  });
});
