import { pbkdf2Sync, randomBytes, timingSafeEqual } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import { Algorithm, hash } from '@node-rs/argon2';
import { type Credentials, typeOrmUsers, type UserStore } from 'nestjs-expiring-token';
import { Column, Entity, PrimaryColumn } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { onEveryDatabase, PASSWORD } from '../fixtures/app.js';
import { login, refused } from '../fixtures/predecessors.js';

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

  /** A table of users as Django stores them, with Django's default hashes. */
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
      const actual = pbkdf2Sync(password, salt, Number(iterations), 32, 'sha256');
      return Promise.resolve(user && expected.length === 32 && timingSafeEqual(actual, expected) ? user : null);
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
        expect((await app.get('/me', token)).json.token.userId, username).toBe(id);
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
