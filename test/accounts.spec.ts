import { randomUUID } from 'node:crypto';
import { hash } from '@node-rs/argon2';
import { Controller, Get, Inject, Injectable, type Type } from '@nestjs/common';
import { EventEmitter2, EventEmitterModule } from '@nestjs/event-emitter';
import { InjectDataSource } from '@nestjs/typeorm';
import { typeOrmUsers, type TypeOrmUsers, User, UserService } from 'nestjs-expiring-token';
import {
  ChildEntity,
  Column,
  type DataSource,
  DeleteDateColumn,
  Entity,
  PrimaryColumn,
  PrimaryGeneratedColumn,
  TableInheritance,
  UpdateDateColumn,
  VersionColumn,
} from 'typeorm';
import { beforeAll, describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { ACCOUNT, Account } from './fixtures/account.js';
import { onEveryDatabase, onOneEnvironment, PASSWORD, type TestApp } from './fixtures/app.js';

const CHEAP = { memoryCost: 1024, timeCost: 1, parallelism: 1 };

/** Another entity of an application, whose ids are text. */
@Entity('person_account')
class Person {
  @PrimaryColumn({ type: 'varchar', length: 100 })
  id: string;

  @Column({ type: 'varchar', length: 100, unique: true })
  name: string;

  @Column('varchar', { nullable: true, select: false })
  hash?: string | null;
}

const PERSON = { id: 'id', username: 'name', password: 'hash' } as const;

/** A store that the application extends, with a member that has the name of one of the base class. */
@Injectable()
class Accounts extends typeOrmUsers(Account, ACCOUNT) {
  @InjectDataSource()
  readonly dataSource: DataSource;

  countAccounts = () => this.dataSource.getRepository(Account).count();
}

@Controller()
class AccountsController {
  constructor(private readonly accounts: Accounts) {}

  @Get('count')
  async count() {
    return { count: await this.accounts.countAccounts() };
  }
}

describe('A class of typeOrmUsers', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let accounts: Accounts;
    beforeAll(async () => {
      app = await environment.boot({
        options: { users: Accounts },
        typeOrm: { entities: [Account] },
        controllers: [AccountsController],
        imports: [EventEmitterModule.forRoot()],
      });
      accounts = app.nest.get(Accounts);
    });

    const createAccount = async () => {
      const { id, email } = await app.dataSource
        .getRepository(Account)
        .save({ email: `${randomUUID()}@example.org`, passwordHash: await hash(PASSWORD, CHEAP) });
      return { id: String(id), email };
    };
    const codeOf = async (token: string) => (await app.get('/me', token)).json.code ?? 'in';

    it('is exported by the module, and keeps what a subclass injects', async () => {
      expect(await app.get('/count')).toMatchObject({ status: 200, json: { count: await accounts.countAccounts() } });
      expect(app.nest.get(USER_STORE)).toBe(accounts);
    });

    it('changes a password, and revokes the tokens of this user but those of one device', async () => {
      const [user, other] = [await createAccount(), await createAccount()];
      const kept = await app.tokens.issue(user.id);
      const [lost, foreign] = [await app.token(user.id), await app.token(other.id)];
      const events: unknown[] = [];
      app.nest.get(EventEmitter2).once('expiring-token.password-changed', (event) => events.push(event));
      expect(await accounts.changePassword(user.id, 'a new password', { except: kept.token.deviceId })).toBe(true);
      expect([await codeOf(lost), await codeOf(kept.plainText), await codeOf(foreign)]).toEqual([
        'token_invalid',
        'in',
        'in',
      ]);
      expect((await app.login(user.email)).status).toBe(401);
      expect((await app.login(user.email, 'a new password')).status).toBe(200);
      expect(events).toEqual([{ userId: user.id }]);
      expect(await accounts.changePassword(user.id, null)).toBe(true);
      expect((await app.login(user.email, 'a new password')).status).toBe(401);
      expect(await codeOf(kept.plainText)).toBe('token_invalid');
    });

    it('applies the policy for passwords, and changes nothing then', async () => {
      const { id, email } = await createAccount();
      const token = await app.token(id);
      await expect(accounts.changePassword(id, 'short')).rejects.toMatchObject({ code: 'validation_failed' });
      await expect(accounts.changePassword(id, 'long enough', { except: 'no device' })).rejects.toMatchObject({
        code: 'validation_failed',
      });
      expect(await codeOf(token)).toBe('in');
      expect((await app.login(email)).status).toBe(200);
    });

    it('deactivates a user, whose tokens work again afterwards unless they were revoked', async () => {
      const { id, email } = await createAccount();
      const token = await app.token(id);
      expect(await accounts.setActive(id, false)).toBe(true);
      expect([await codeOf(token), (await app.login(email)).status]).toEqual(['user_inactive', 401]);
      expect(await accounts.setActive(id, true)).toBe(true);
      expect(await codeOf(token)).toBe('in');
      expect(await accounts.setActive(id, false, { revoke: true })).toBe(true);
      expect(await codeOf(token)).toBe('token_invalid');
      expect(await accounts.setActive(id, true)).toBe(true);
      expect([await codeOf(token), (await app.login(email)).status]).toEqual(['token_invalid', 200]);
    });

    it('deletes a user with all tokens', async () => {
      const { id, email } = await createAccount();
      const token = await app.token(id);
      expect(await accounts.delete(id)).toBe(true);
      expect([await codeOf(token), (await app.login(email)).status]).toEqual(['token_invalid', 401]);
      expect(await app.dataSource.getRepository(Account).countBy({ email })).toBe(0);
      expect(await accounts.delete(id)).toBe(false);
    });

    it('changes nobody for an id that is not exactly the id of a user', async () => {
      const { id, email } = await createAccount();
      const token = await app.token(id);
      for (const wrong of [
        `${id}abc`,
        `0${id}`,
        ` ${id}`,
        `${id}.0`,
        'nobody',
        '',
        '\0',
        'x'.repeat(300),
        '9'.repeat(30),
      ]) {
        const label = JSON.stringify(wrong.slice(0, 20));
        expect(await accounts.changePassword(wrong, 'long enough'), label).toBe(false);
        expect(await accounts.setActive(wrong, false, { revoke: true }), label).toBe(false);
        expect(await accounts.delete(wrong), label).toBe(false);
      }
      expect([await codeOf(token), (await app.login(email)).status]).toEqual(['in', 200]);
    });

    it('has no setActive if it was given no property active', async () => {
      const users = typeOrmUsers(Person, PERSON);
      const persons = await environment.boot({ options: { users }, typeOrm: { entities: [Person] } });
      await persons.dataSource.getRepository(Person).save({ id: 'ann@home', name: 'ann' });
      const store = persons.nest.get<TypeOrmUsers<Person>>(users);
      await expect(store.setActive('ann@home', false)).rejects.toThrow(
        'users: Person has no property for active, so setActive cannot change it. Give typeOrmUsers the name of a boolean property as active.',
      );
      expect(await store.changePassword('ANN@home', PASSWORD)).toBe(false);
      expect(await store.changePassword('ann@home', PASSWORD)).toBe(true);
      expect((await persons.login('ann')).status).toBe(200);
      expect([await store.delete('ANN@home'), await store.delete('ann@home')]).toEqual([false, true]);
    });

    it('changes version and update date as TypeORM does', async () => {
      @Entity('versioned_account')
      class Versioned {
        @PrimaryGeneratedColumn()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true, select: false })
        passwordHash?: string | null;

        @Column({ default: true })
        enabled: boolean;

        @VersionColumn()
        version: number;

        @UpdateDateColumn()
        updatedAt: Date;
      }
      const users = typeOrmUsers(Versioned, ACCOUNT);
      const versioned = await environment.boot({ options: { users }, typeOrm: { entities: [Versioned] } });
      const repository = versioned.dataSource.getRepository(Versioned);
      const { id } = await repository.save({ email: 'ann', updatedAt: new Date('2020-01-01T00:00:00Z') });
      const store = versioned.nest.get<TypeOrmUsers<Versioned>>(users);
      await store.changePassword(String(id), PASSWORD);
      await store.setActive(String(id), false);
      const { version, updatedAt } = await repository.findOneByOrFail({ id });
      expect(version).toBe(3);
      expect(updatedAt.getFullYear()).toBeGreaterThan(2020);
    });

    it('does not change a soft-deleted user, but deletes the row for good', async () => {
      @Entity('leaving_account')
      class Leaving {
        @PrimaryGeneratedColumn()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true, select: false })
        passwordHash?: string | null;

        @Column({ default: true })
        enabled: boolean;

        @DeleteDateColumn()
        leftAt: Date | null;
      }
      const users = typeOrmUsers(Leaving, ACCOUNT);
      const leaving = await environment.boot({ options: { users }, typeOrm: { entities: [Leaving] } });
      const repository = leaving.dataSource.getRepository(Leaving);
      const [ann, bob] = await repository.save([{ email: 'ann' }, { email: 'bob' }]);
      const store = leaving.nest.get<TypeOrmUsers<Leaving>>(users);
      await repository.softDelete({ id: ann!.id });
      const id = String(ann!.id);
      expect([await store.changePassword(id, PASSWORD), await store.setActive(id, false)]).toEqual([false, false]);
      expect([await store.delete(id), await store.delete(String(bob!.id))]).toEqual([true, true]);
      expect(await repository.count({ withDeleted: true })).toBe(0);
    });

    it('changes no user of another class in the same table', async () => {
      @Entity('club_member')
      @TableInheritance({ column: { type: 'varchar', name: 'kind' } })
      class ClubMember {
        @PrimaryGeneratedColumn()
        id: number;

        @Column()
        email: string;

        @Column('varchar', { nullable: true, select: false })
        passwordHash?: string | null;

        @Column({ default: true })
        enabled: boolean;
      }
      @ChildEntity()
      class ClubAdmin extends ClubMember {}
      @ChildEntity()
      class ClubOwner extends ClubAdmin {}
      @ChildEntity()
      class ClubGuest extends ClubMember {}
      const users = typeOrmUsers(ClubAdmin, ACCOUNT);
      const entities: Type[] = [ClubMember, ClubAdmin, ClubOwner, ClubGuest];
      const club = await environment.boot({ options: { users }, typeOrm: { entities } });
      const store = club.nest.get<TypeOrmUsers<ClubAdmin>>(users);
      for (const [entity, isAdmin] of [
        [ClubAdmin, true],
        [ClubOwner, true],
        [ClubGuest, false],
        [ClubMember, false],
      ] as const) {
        const { id } = await club.dataSource.getRepository<ClubMember>(entity).save({ email: entity.name });
        const changes = [
          await store.changePassword(String(id), PASSWORD),
          await store.setActive(String(id), true),
          (await club.login(entity.name)).status === 200,
          await store.delete(String(id)),
        ];
        expect(changes, entity.name).toEqual([isAdmin, isAdmin, isAdmin, isAdmin]);
      }
    });
  });
});

describe('A class of typeOrmUsers that is not extended', () => {
  const Plain = typeOrmUsers(Account, ACCOUNT);

  @Controller()
  class PlainController {
    constructor(@Inject(Plain) private readonly accounts: TypeOrmUsers<Account>) {}

    @Get('find')
    async find() {
      return { found: await this.accounts.findByUsername('nobody') };
    }
  }

  onOneEnvironment((environment) => {
    it('can be injected too', async () => {
      const app = await environment.boot({
        options: { users: Plain },
        typeOrm: { entities: [Account] },
        controllers: [PlainController],
      });
      expect((await app.get('/find')).json).toEqual({ found: null });
    });
  });
});

describe('The option userEntity', () => {
  @Entity('customer')
  class Customer extends User {
    @Column('varchar', { nullable: true })
    company: string | null;

    @Column({ default: 'free' })
    plan: string;
  }

  onEveryDatabase((environment) => {
    it('adds columns to the users of the built-in store', async () => {
      const app = await environment.boot({ options: { userEntity: Customer } });
      const users = app.nest.get(UserService);
      const created = await users.create('ann', PASSWORD);
      expect(created).toBeInstanceOf(Customer);
      expect(created).toEqual({ id: created.id, username: 'ann', active: true, company: null, plan: 'free' });
      const customers = app.dataSource.getRepository(Customer);
      await customers.update({ id: created.id }, { company: 'Acme' });

      const { json } = await app.login('ann');
      const { id } = created;
      const user = { id, username: 'ann', active: true, company: 'Acme', plan: 'free' };
      expect((await app.get('/me', json.token)).json.user).toEqual(user);
      expect(await users.changePassword(id, 'another password', { except: json.deviceId })).toBe(true);
      expect(await users.setActive(id, false, { revoke: true })).toBe(true);
      expect((await app.get('/me', json.token)).json.code).toBe('token_invalid');
      expect(await customers.findOneByOrFail({ id })).toMatchObject({ active: false, company: 'Acme' });
      expect(await users.delete(id)).toBe(true);
      expect(await customers.count()).toBe(0);
    });
  });
});
