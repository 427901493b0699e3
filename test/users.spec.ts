import { randomUUID } from 'node:crypto';
import { hash } from '@node-rs/argon2';
import { ForbiddenException, Injectable, Module } from '@nestjs/common';
import { getDataSourceToken, TypeOrmModule } from '@nestjs/typeorm';
import { type Credentials, hashPassword, typeOrmUsers, type UserStore } from 'nestjs-expiring-token';
import {
  ChildEntity,
  Column,
  type DataSource,
  DeleteDateColumn,
  Entity,
  PrimaryGeneratedColumn,
  TableInheritance,
} from 'typeorm';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import type { Database } from '../lib/database/database.js';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { ACCOUNT, Account } from './fixtures/account.js';
import {
  warnings,
  onEveryDatabase,
  onEveryEnvironment,
  onOneEnvironment,
  PASSWORD,
  TestEnvironment,
  type TestApp,
} from './fixtures/app.js';

const WEAK = { memoryCost: 1024, timeCost: 1, parallelism: 1 };

describe('UserService', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot();
    });

    it('creates an active user, and does not return the hash', async () => {
      const username = `ann-${randomUUID()}`;
      const user = await app.users.create(username, PASSWORD);
      expect(JSON.parse(JSON.stringify(user))).toEqual({ id: expect.any(String), username, active: true });
      const [row] = await app.dataSource.query(`SELECT password FROM auth_user WHERE username = '${username}'`);
      expect(row.password).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
    });

    it('rejects exactly the user name that is taken', async () => {
      const username = `Ann-${randomUUID()}`;
      await app.createUser(username);
      await expect(app.createUser(username)).rejects.toThrow('User name is taken');
      await app.createUser(username.toLowerCase());
      await app.createUser(username.replace('A', 'Á'));
    });

    it('rejects invalid names and passwords', async () => {
      // Soft hyphen, zero-width space and joiner, right-to-left override, byte order mark, Hangul filler, variation selectors, tag.
      const invisible = [
        '\u00ad',
        '\u200b',
        '\u200d',
        '\u202e',
        '\u2066',
        '\ufeff',
        '\u3164',
        '\u115f',
        '\u034f',
        '\ufe0f',
        '\u{e0100}',
        '\u{e0061}',
        // Line and paragraph separator, a Braille pattern without dots.
        '\u2028',
        '\u2029',
        '\u2800',
      ];
      for (const character of invisible) {
        await expect(app.users.create(`an${character}n`, PASSWORD), JSON.stringify(character)).rejects.toMatchObject({
          code: 'validation_failed',
          message: 'username must not contain invisible or control characters',
        });
      }
      for (const username of ['', ' ann', 'ann ', 'a\0b', 'a\nb', 'a\ud800', 'x'.repeat(256), 7, null, ['ann']]) {
        await expect(app.users.create(username as string, PASSWORD), JSON.stringify(username)).rejects.toMatchObject({
          code: 'validation_failed',
        });
      }
      for (const password of ['', 'a\ud800', 'x'.repeat(1025), 7, undefined]) {
        const created = app.users.create(randomUUID(), password as string);
        await expect(created, JSON.stringify(password)).rejects.toMatchObject({ code: 'validation_failed' });
      }
      expect((await app.users.create('名'.repeat(255), PASSWORD)).username).toHaveLength(255);
    });

    it('keeps passwords exactly as given', async () => {
      for (const password of ['  spaces  ', 'nul\0byte', 'passed e\u0301', '😀'.repeat(256), 'x'.repeat(1024)]) {
        const { username } = await app.users.create(randomUUID(), password);
        expect((await app.login(username, password)).status, JSON.stringify(password)).toBe(200);
        const variants = [
          password.trim(),
          password.replace(/\0.*/, ''),
          password.normalize('NFC'),
          password.slice(0, -2),
        ];
        for (const variant of variants.filter((other) => other !== password)) {
          expect([400, 401], JSON.stringify(variant)).toContain((await app.login(username, variant)).status);
        }
      }
    });

    it('finds no user of an invented id', async () => {
      for (const userId of ['nobody', '42', '01b8e094-9b2e-7000-8000-000000000000']) {
        expect((await app.get('/me', await app.token(userId))).json.code, userId).toBe('user_inactive');
      }
    });

    it('revokes the tokens of the user with changePassword and delete, and of no other user', async () => {
      const [user, other] = [await app.createUser(), await app.createUser()];
      const kept = await app.tokens.issue(user.id);
      const [lost, foreign] = [await app.token(user.id), await app.token(other.id)];
      expect(await app.users.changePassword(user.id, 'a new one', { except: kept.token.deviceId })).toBe(true);
      expect((await app.get('/me', lost)).json.code).toBe('token_invalid');
      expect((await app.get('/me', kept.plainText)).status).toBe(200);
      expect((await app.login(user.username)).status).toBe(401);
      expect((await app.login(user.username, 'a new one')).status).toBe(200);
      expect(await app.users.changePassword(user.id, PASSWORD)).toBe(true);
      expect((await app.get('/me', kept.plainText)).json.code).toBe('token_invalid');
      const last = await app.token(user.id);
      expect(await app.users.delete(user.id)).toBe(true);
      expect((await app.get('/me', last)).json.code).toBe('token_invalid');
      expect((await app.login(user.username)).status).toBe(401);
      expect((await app.get('/me', foreign)).status).toBe(200);
    });

    it('rejects an invalid change of a password, and changes nothing then', async () => {
      const user = await app.createUser();
      const token = await app.token(user.id);
      for (const [password, except] of [
        ['', undefined],
        ['x'.repeat(1025), undefined],
        ['long enough', 'no device'],
      ] as const) {
        await expect(
          app.users.changePassword(user.id, password, { except }),
          `password of ${password.length} characters, except ${except}`,
        ).rejects.toMatchObject({
          code: 'validation_failed',
        });
      }
      expect((await app.get('/me', token)).status).toBe(200);
      expect((await app.login(user.username)).status).toBe(200);
      expect(await app.users.changePassword(randomUUID(), 'long enough')).toBe(false);
      expect(await app.users.delete(randomUUID())).toBe(false);
      expect(await app.users.delete('nobody')).toBe(false);
    });

    it('rejects new passwords of less than eight code points, also in changePassword', async () => {
      const user = await app.createUser();
      const tooShort = { code: 'validation_failed', message: 'password must be at least 8 characters' };
      for (const password of ['x', 'seven77', '😀'.repeat(7)]) {
        await expect(app.users.create(randomUUID(), password), password).rejects.toMatchObject(tooShort);
        await expect(app.users.changePassword(user.id, password), password).rejects.toMatchObject(tooShort);
      }
      expect((await app.login(user.username)).status).toBe(200);
      for (const password of ['eight888', '😀'.repeat(8)])
        expect(await app.users.changePassword(user.id, password), password).toBe(true);
    });

    it('leaves no login valid that ran while the password changed', async () => {
      const user = await app.createUser();
      for (let round = 0; round < 5; round++) {
        const logins = Promise.all(Array.from({ length: 5 }, () => app.login(user.username)));
        await app.users.changePassword(user.id, `password ${round}`);
        const tokens = (await logins).filter(({ status }) => status === 200).map(({ json }) => json.token);
        await app.users.changePassword(user.id, PASSWORD);
        for (const [index, token] of tokens.entries())
          expect((await app.get('/me', token)).status, `round ${round}, token ${index}`).toBe(401);
      }
    });

    it('returns from setActive whether the user exists', async () => {
      const { id } = await app.createUser();
      expect(await app.users.setActive(id, true)).toBe(true);
      expect(await app.users.setActive(randomUUID(), true)).toBe(false);
      expect(await app.users.setActive("' OR 1=1", true)).toBe(false);
    });
  });
});

describe('The option passwords', () => {
  onOneEnvironment((environment) => {
    it('changes the minimum length of new passwords, and locks nobody out', async () => {
      const app = await environment.boot({ options: { passwords: { minLength: 2 } } });
      const { username, id } = await app.users.create(randomUUID(), 'xy');
      await expect(app.users.create(randomUUID(), 'x')).rejects.toThrow('password must be at least 2 characters');
      const strict = await environment.boot({ options: { passwords: { minLength: 12 } } });
      expect((await strict.login(username, 'xy')).status).toBe(200);
      await expect(strict.users.changePassword(id, 'eleven char')).rejects.toThrow('at least 12 characters');
      expect(await strict.users.changePassword(id, 'twelve chars')).toBe(true);
    });

    it('rejects what check throws on: an HttpException unchanged, any other error as validation_failed', async () => {
      const checked: string[] = [];
      let failure: unknown;
      const check = async (password: string) => {
        checked.push(password);
        if (failure !== undefined) throw failure;
      };
      const app = await environment.boot({ options: { passwords: { check } } });
      const user = await app.createUser();
      const changes = (password: string) => [
        app.users.create(randomUUID(), password),
        app.users.changePassword(user.id, password),
      ];
      await Promise.all(changes('long enough'));
      expect(checked).toEqual(['long enough', 'long enough']);

      const expectRejected = async (expected: unknown) => {
        for (const result of await Promise.allSettled(changes('breached one')))
          expect(result).toEqual({ status: 'rejected', reason: expected });
      };
      failure = new ForbiddenException({ reason: 'breached' });
      await expectRejected(failure);
      failure = new Error('choose a password that was not breached');
      const message = 'choose a password that was not breached';
      await expectRejected(expect.objectContaining({ code: 'validation_failed', message }));
      failure = 'no error';
      await expectRejected(expect.objectContaining({ code: 'validation_failed', message: 'password is not accepted' }));
      expect((await app.login(user.username, 'breached one')).status).toBe(401);
      expect((await app.login(user.username, 'long enough')).status).toBe(200);

      const before = checked.length;
      await expect(app.users.create(randomUUID(), 'short')).rejects.toThrow('at least 8 characters');
      await app.users.create(randomUUID(), null);
      expect(checked).toHaveLength(before);
    });

    it('may have a synchronous check', async () => {
      const check = (password: string) => {
        if (password.includes('ann')) throw new Error('password must not contain the name');
      };
      const app = await environment.boot({ options: { passwords: { check } } });
      await expect(app.users.create('ann', 'ann likes bob')).rejects.toMatchObject({ code: 'validation_failed' });
    });
  });
});

describe('typeOrmUsers', () => {
  onEveryEnvironment((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { users: typeOrmUsers(Account, ACCOUNT) },
        imports: [TypeOrmModule.forFeature([Account])],
      });
    });

    const createAccount = async (account: Partial<Account> = {}) =>
      app.dataSource
        .getRepository(Account)
        .save({ email: `${randomUUID()}@example.org`, passwordHash: await hash(PASSWORD, WEAK), ...account });

    it('authenticates users of the application, whose ids may be numbers', async () => {
      const { id, email } = await createAccount();
      const { status, json } = await app.login(email);
      expect(status).toBe(200);
      const me = await app.get('/me', json.token);
      expect(me.json.user).toEqual({ id, email, enabled: true });
      expect(me.json.token.userId).toBe(String(id));
    });

    it('rejects wrong passwords, users without a password, and inactive users', async () => {
      const { email } = await createAccount();
      expect((await app.login(email, 'wrong')).status).toBe(401);
      expect((await app.login((await createAccount({ passwordHash: null })).email)).status).toBe(401);
      expect((await app.login((await createAccount({ enabled: false })).email)).status).toBe(401);
      expect((await app.login(email.toUpperCase())).status).toBe(401);
    });

    it('replaces a weaker hash at the next login, also at fifty simultaneous logins', async () => {
      const { id, email } = await createAccount();
      const stored = async () => (await app.dataSource.query(`SELECT * FROM account WHERE id = ${id}`))[0].passwordHash;
      const weak = await stored();
      expect((await app.login(email, 'wrong')).status).toBe(401);
      expect(await stored()).toBe(weak);
      const answers = await Promise.all(Array.from({ length: 50 }, () => app.login(email)));
      expect(answers.every(({ status }) => status === 200)).toBe(true);
      const replaced = await stored();
      expect(replaced).toMatch(/^\$argon2id\$v=19\$m=19456,t=2,p=1\$/);
      expect((await app.login(email)).status).toBe(200);
      expect(await stored()).toBe(replaced);
    });

    it('replaces a hash by a stronger one only: no parameter becomes less', async () => {
      const stored = async (id: number) =>
        (await app.dataSource.query(`SELECT * FROM account WHERE id = ${id}`))[0].passwordHash as string;
      const parameters = (phc: string) => phc.split('$')[3];
      const ours = parameters(await hashPassword(PASSWORD));
      expect(ours).toBe('m=19456,t=2,p=1');
      for (const [memoryCost, timeCost, parallelism, expected] of [
        [1024, 1, 1, ours],
        // Weaker, although it has more passes or lanes.
        [4096, 3, 1, 'm=19456,t=3,p=1'],
        [1024, 1, 4, 'm=19456,t=2,p=4'],
        [19_456, 1, 1, ours],
        [19_456, 2, 1, null],
        [19_456, 2, 2, null],
        // OWASP's choice of more memory for one pass; argon2 of Node and RFC 9106; Laravel; Django.
        [47_104, 1, 1, null],
        [65_536, 3, 4, null],
        [65_536, 4, 1, null],
        [102_400, 2, 8, null],
      ] as const) {
        const passwordHash = await hash(PASSWORD, { memoryCost, timeCost, parallelism });
        const { id, email } = await createAccount({ passwordHash });
        const label = parameters(passwordHash);
        expect((await app.login(email)).status, label).toBe(200);
        const replaced = await stored(id);
        if (expected === null) expect(replaced, label).toBe(passwordHash);
        else expect(parameters(replaced), label).toBe(expected);
        expect((await app.login(email)).status, label).toBe(200);
        expect(await stored(id), label).toBe(replaced);
      }
    });

    it('accepts the hashes of hashPassword, which rejects what no login can send', async () => {
      const { email } = await createAccount({ passwordHash: await hashPassword('  of the application\0 ') });
      expect((await app.login(email, '  of the application\0 ')).status).toBe(200);
      for (const password of ['', 'a\ud800', 'x'.repeat(1025), 7, null, undefined]) {
        await expect(hashPassword(password as string), JSON.stringify(password)).rejects.toMatchObject({
          code: 'validation_failed',
          message: expect.stringMatching(/^password must /),
        });
      }
    });

    it('accepts a login even if a weaker hash cannot be replaced', async () => {
      const { email } = await createAccount();
      const write = vi.spyOn(app.nest.get<Database>(DATABASE), 'write');
      write.mockRejectedValueOnce(new Error('attempt to write a readonly database'));
      expect((await app.login(email)).status).toBe(200);
      expect(write).toHaveBeenCalledTimes(1);
      write.mockRestore();
    });

    it('ends the sessions of a deleted account', async () => {
      const account = await createAccount();
      const token = await app.token(String(account.id));
      await app.dataSource.getRepository(Account).delete({ id: account.id });
      expect((await app.get('/me', token)).json.code).toBe('user_inactive');
    });

    it('never confuses two ids, and treats an impossible id as unknown, not as an outage', async () => {
      const { id } = await createAccount();
      for (const userId of [`${id}abc`, 'nobody', '99999999999999999999', '01b8e094-9b2e-7000-8000-000000000000']) {
        const { status, json } = await app.get('/me', await app.token(userId));
        expect({ status, code: json.code }, userId).toEqual({ status: 401, code: 'user_inactive' });
      }
    });
  });

  it('names a property that the entity lacks, and an entity that is not registered', async () => {
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const users = (properties: object) => typeOrmUsers(Account, properties as typeof ACCOUNT);
    await expect(
      environment.boot({
        options: { users: users({ ...ACCOUNT, active: 'isEnabled' }) },
        imports: [TypeOrmModule.forFeature([Account])],
      }),
    ).rejects.toThrow('users: Account has no column "isEnabled" for active');
    const { password: _, ...withoutPassword } = ACCOUNT;
    await expect(
      environment.boot({ options: { users: users(withoutPassword) }, imports: [TypeOrmModule.forFeature([Account])] }),
    ).rejects.toThrow('users: Account has no column undefined for password');
    const hidden = { ...ACCOUNT, active: 'passwordHash' };
    await expect(
      environment.boot({ options: { users: users(hidden) }, imports: [TypeOrmModule.forFeature([Account])] }),
    ).rejects.toThrow('users: Account.passwordHash has select: false');
    @Entity()
    class Stranger extends Account {}
    await expect(environment.boot({ options: { users: typeOrmUsers(Stranger, ACCOUNT) } })).rejects.toThrow(
      'users: Stranger is not an entity of the data source',
    );
    await environment.close();
  });
});

describe('typeOrmUsers with rows that TypeORM does not load', () => {
  const FIELDS = { id: 'id', username: 'email', password: 'passwordHash' } as const;

  /** Entities of the tests, whose table names need not be unique. */
  abstract class Person {
    @PrimaryGeneratedColumn()
    id: number;

    @Column()
    email: string;

    @Column('varchar', { nullable: true, select: false })
    passwordHash?: string | null;
  }
  const hashes = { old: hash(PASSWORD, WEAK), new: hash('another password', WEAK) };

  onEveryDatabase((environment) => {
    it('rejects a soft-deleted user, and accepts the user who has the name now', async () => {
      @Entity('leaver')
      class Leaver extends Person {
        @DeleteDateColumn()
        leftAt: Date | null;
      }
      const users = typeOrmUsers(Leaver, FIELDS);
      const app = await environment.boot({ options: { users }, typeOrm: { entities: [Leaver] } });
      const leavers = app.dataSource.getRepository(Leaver);
      const { id } = await leavers.save({ email: 'ann', passwordHash: await hashes.old });
      expect((await app.login('ann')).status).toBe(200);
      await leavers.softDelete({ id });
      expect((await app.login('ann')).json.code).toBe('credentials_invalid');
      await leavers.save({ email: 'ann', passwordHash: await hashes.new });
      expect((await app.login('ann')).json.code).toBe('credentials_invalid');
      const { json } = await app.login('ann', 'another password');
      expect((await app.get('/me', json.token)).json.user.email).toBe('ann');
    });

    it('rejects a user of another class in the same table', async () => {
      @Entity('member')
      @TableInheritance({ column: { type: 'varchar', name: 'kind' } })
      class Member extends Person {}
      @ChildEntity()
      class Admin extends Member {}
      @ChildEntity()
      class Guest extends Member {}
      const users = typeOrmUsers(Admin, FIELDS);
      const app = await environment.boot({ options: { users }, typeOrm: { entities: [Member, Admin, Guest] } });
      await app.dataSource.getRepository(Guest).save({ email: 'ann', passwordHash: await hashes.old });
      expect((await app.login('ann')).json.code).toBe('credentials_invalid');
      await app.dataSource.getRepository(Admin).save({ email: 'ann', passwordHash: await hashes.new });
      expect((await app.login('ann', 'another password')).status).toBe(200);
    });
  });
});

describe('A user store of the application', () => {
  @Injectable()
  class Directory {
    readonly people = new Map([['7', { id: 7, name: 'ann', password: PASSWORD, locked: false }]]);
    failure: Error | null = null;
  }

  @Module({ providers: [Directory], exports: [Directory] })
  class DirectoryModule {}

  type Person = { id: number; name: string; password: string; locked: boolean };

  @Injectable()
  class DirectoryUsers implements UserStore<Person> {
    constructor(private readonly directory: Directory) {}

    async findById(id: string) {
      if (this.directory.failure) throw this.directory.failure;
      return this.directory.people.get(id) ?? null;
    }

    async validateCredentials({ username, password }: Credentials) {
      if (this.directory.failure) throw this.directory.failure;
      return (
        [...this.directory.people.values()].find((one) => one.name === username && one.password === password) ?? null
      );
    }

    getId(person: Person) {
      return String(person.id);
    }

    isActive(person: Person) {
      return !person.locked;
    }
  }

  onEveryEnvironment((environment) => {
    let app: TestApp;
    let directory: Directory;
    beforeAll(async () => {
      app = await environment.boot({ options: { users: DirectoryUsers, imports: [DirectoryModule] } });
      directory = app.nest.get(Directory);
    });

    it('is called at login and on each request', async () => {
      const { json } = await app.login('ann');
      expect((await app.get('/me', json.token)).json.user.name).toBe('ann');
      expect((await app.login('ann', 'wrong')).json.code).toBe('credentials_invalid');
      directory.people.get('7')!.locked = true;
      expect((await app.get('/me', json.token)).json.code).toBe('user_inactive');
      expect((await app.login('ann')).json.code).toBe('credentials_invalid');
      directory.people.get('7')!.locked = false;
      expect((await app.get('/me', json.token)).status).toBe(200);
    });

    it('that fails is answered 503, and its own HTTP exceptions are passed on', async () => {
      const token = (await app.login('ann')).json.token;
      directory.failure = new Error('directory server is down');
      for (const [request, answer] of Object.entries({
        login: await app.login('ann'),
        guarded: await app.get('/me', token),
      })) {
        expect(answer, request).toMatchObject({ status: 503, json: { code: 'unavailable' } });
        expect(answer.headers['retry-after'], request).toMatch(/^[1-9]\d*$/);
      }
      directory.failure = null;
      Object.defineProperty(directory.people.get('7')!, 'locked', {
        configurable: true,
        get: () => {
          throw new Error('no such attribute');
        },
      });
      expect((await app.login('ann')).status).toBe(503);
      expect((await app.get('/me', token)).status).toBe(503);
      Object.defineProperty(directory.people.get('7')!, 'locked', { value: false, writable: true });
      directory.failure = new ForbiddenException('not from here');
      expect(await app.login('ann')).toMatchObject({ status: 403, json: { message: 'not from here' } });
      directory.failure = null;
    });

    it('leaves the built-in users table unused', async () => {
      expect(() => app.users).toThrow();
    });
  });
});

describe('typeOrmUsers with a Latin-1 column', () => {
  @Entity()
  class Veteran {
    @PrimaryGeneratedColumn()
    id: number;

    @Column({ type: 'varchar', length: 190, charset: 'latin1', collation: 'latin1_swedish_ci', unique: true })
    email: string;

    @Column('varchar', { length: 255 })
    passwordHash: string;
  }

  onEveryDatabase(
    (environment) => {
      it('finds no user of a name that the column cannot hold, without an outage', async () => {
        // A separate entity: other databases could not create the table, and autoLoadEntities would add it to all.
        const name = 'latin1';
        const app = await environment.boot({
          options: {
            users: typeOrmUsers(Veteran, { id: 'id', username: 'email', password: 'passwordHash' }),
            dataSource: name,
          },
          imports: [TypeOrmModule.forFeature([Veteran], name)],
          typeOrm: { name },
        });
        const passwordHash = await hash(PASSWORD, WEAK);
        await app.nest
          .get<DataSource>(getDataSourceToken(name))
          .getRepository(Veteran)
          .save([
            { email: 'José', passwordHash },
            { email: '?', passwordHash },
          ]);
        const before = warnings.length;
        const nobody = await app.login('nobody');
        expect(nobody.status).toBe(401);
        for (const username of ['😀', 'ア', 'Jose\u0301', 'josé', 'Jose', '\ufffd', 'José\u{10ffff}']) {
          expect(await app.login(username), username).toMatchObject({ status: 401, text: nobody.text });
        }
        expect((await app.login('José')).status).toBe(200);
        expect(warnings.slice(before)).toEqual([]);
      });
    },
    ['mariadb'],
  );
});
