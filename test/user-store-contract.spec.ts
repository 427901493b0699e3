import { scrypt } from 'node:crypto';
import { promisify } from 'node:util';
import { type Credentials, typeOrmUsers, User, UserService, type UserStore } from 'nestjs-expiring-token';
import { userStoreContract, type UserStoreUnderTest } from 'nestjs-expiring-token/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { hashPassword } from '../lib/users/password-hash.js';
import { ACCOUNT, Account } from './fixtures/account.js';
import { onEveryDatabase } from './fixtures/app.js';

const ANN = { username: 'Ann-Élise', password: 'correct horse' };
const BOB = { username: 'bob', password: 'battery staple' };

const Accounts = typeOrmUsers(Account, ACCOUNT);

describe('The user stores of the package fulfil the contract:', () => {
  onEveryDatabase((environment) => {
    describe('the built-in store', () => {
      let under: UserStoreUnderTest;
      beforeAll(async () => {
        const app = await environment.boot();
        const users = app.nest.get(UserService);
        const inactive = await users.create('carl', 'password of carl');
        await users.setActive(inactive.id, false);
        for (const { username, password } of [ANN, BOB]) await users.create(username, password);
        under = { store: app.nest.get(USER_STORE), users: [ANN, BOB], inactiveId: inactive.id };
      });
      for (const { name, check } of userStoreContract(() => under)) it(name, check);
    });

    describe('typeOrmUsers', () => {
      let under: UserStoreUnderTest;
      beforeAll(async () => {
        const app = await environment.boot({ options: { users: Accounts }, typeOrm: { entities: [Account, User] } });
        const accounts = app.dataSource.getRepository(Account);
        const carl = await accounts.save({ email: 'carl', passwordHash: null, enabled: false });
        for (const { username, password } of [ANN, BOB])
          await accounts.save({ email: username, passwordHash: await hashPassword(password) });
        under = { store: app.nest.get(USER_STORE), users: [ANN, BOB], inactiveId: String(carl.id) };
      });
      for (const { name, check } of userStoreContract(() => under)) it(name, check);
    });
  });
});

interface Member extends Credentials {
  id: number;
  active: boolean;
}

const MEMBERS: Member[] = [
  { ...ANN, id: 1, active: true },
  { ...BOB, id: 2, active: true },
  { username: 'carl', password: 'password of carl', id: 3, active: false },
];

const byName = (name: string) => MEMBERS.find(({ username }) => username === name) ?? null;
const byId = (id: string) => MEMBERS.find((member) => String(member.id) === id) ?? null;
const hash = promisify<string, string, number, Buffer>(scrypt);

/** A user store as an application's author may write it. */
const store: Required<UserStore<Member>> = {
  findById: async (id) => byId(id),
  findByUsername: async (name) => byName(name),
  findByIds: async (ids) => MEMBERS.filter(({ id }) => ids.includes(String(id))),
  validateCredentials: async ({ username, password }) => {
    const member = byName(username);
    return member?.password === password ? member : null;
  },
  getId: ({ id }) => String(id),
  isActive: ({ active }) => active,
  canonicalName: (name) => name,
  isStillValid: async ({ id }, { password }) => byId(String(id))?.password === password,
};

/** Stores that break a promise of the contract, by the promise that the check names. */
const BROKEN: [promise: string, broken: Partial<UserStore<Member>>, complaint: RegExp][] = [
  ['accepts the right name and password of each user', { getId: () => '1' }, /the same id/],
  ['accepts the right name and password of each user', { validateCredentials: async () => null }, /returned no user/],
  ['confirms the credentials that it accepted', { isStillValid: async () => false }, /isStillValid rejected/],
  [
    'rejects a wrong password',
    // Like a hash function that stops at a NUL.
    {
      validateCredentials: async ({ username, password }) =>
        byName(username)?.password === password.split('\0')[0] ? byName(username) : null,
    },
    /accepted the password "correct horse\\u0000"/,
  ],
  [
    'rejects a wrong password',
    {
      validateCredentials: async ({ username, password }) =>
        password.startsWith(byName(username)?.password.slice(0, 8) ?? '\0') ? byName(username) : null,
    },
    /accepted the password/,
  ],
  [
    'compares names exactly',
    {
      validateCredentials: ({ username, password }) => {
        const found = MEMBERS.find((member) => member.username.toLowerCase() === username.toLowerCase());
        return store.validateCredentials({ username: found?.username ?? username, password });
      },
    },
    /accepted the name "ANN-ÉLISE"/,
  ],
  [
    'compares names exactly',
    {
      validateCredentials: ({ username, password }) =>
        store.validateCredentials({ username: username.trimEnd(), password }),
    },
    /accepted the name "Ann-Élise "/,
  ],
  [
    'compares names exactly',
    {
      validateCredentials: ({ username, password }) =>
        store.validateCredentials({ username: username.normalize('NFC'), password }),
    },
    /accepted the name "Ann-E\u0301lise"/,
  ],
  [
    'rejects an odd name, and does not throw',
    {
      validateCredentials: async (credentials) => {
        encodeURIComponent(credentials.username);
        return store.validateCredentials(credentials);
      },
    },
    /threw for the name "\\ud800": URIError/,
  ],
  [
    'takes as long for an unknown name as for a wrong password',
    {
      validateCredentials: async (credentials) => {
        if (byName(credentials.username)) await hash(credentials.password, 'salt', 64);
        return store.validateCredentials(credentials);
      },
    },
    /compute one hash either way/,
  ],
  [
    'gives ids that tokens can be stored under, the same each time',
    { getId: ({ id }) => id as never },
    /must be a string/,
  ],
  [
    'gives ids that tokens can be stored under, the same each time',
    { getId: ({ id }) => `${id} ` },
    /must be a string/,
  ],
  [
    'gives ids that tokens can be stored under, the same each time',
    { getId: ({ id }) => `${id}-${Math.random()}` },
    /different ids for the same user/,
  ],
  ['finds each user by the id', { findById: async () => null }, /did not find/],
  ['finds each user by the id', { findById: async () => MEMBERS[0]! }, /returned another user/],
  [
    'finds nobody by an unknown id, and does not throw',
    { findById: async (id) => byId(String(Number.parseInt(id))) },
    /another user for the id "1 "/,
  ],
  [
    'finds nobody by an unknown id, and does not throw',
    {
      findById: async (id) => {
        if (id.includes('\0')) throw new Error('invalid byte sequence');
        return byId(id);
      },
    },
    /threw for the id "1\\u0000": Error: invalid byte/,
  ],
  [
    'finds several users with one call, if it has findByIds',
    { findByIds: async () => MEMBERS },
    /returned other users/,
  ],
  ['finds several users with one call, if it has findByIds', { findByIds: async () => [] }, /returned other users/],
  [
    'finds a user by the exact name, if it has findByUsername',
    { findByUsername: async () => null },
    /did not find "Ann/,
  ],
  [
    'finds a user by the exact name, if it has findByUsername',
    { findByUsername: async () => MEMBERS[0]! },
    /accepted the name|another/,
  ],
  [
    'finds a user by the exact name, if it has findByUsername',
    { findByUsername: async (name) => byName(name.trim()) },
    /accepted the name "Ann-Élise "/,
  ],
  [
    'gives isActive the same user at a login as on a request',
    {
      validateCredentials: async (credentials) => {
        const member = await store.validateCredentials(credentials);
        return member && { ...member, active: undefined as never };
      },
    },
    /returned another user than findById/,
  ],
  [
    'returns from isActive whether a user may log in',
    { isActive: () => true },
    /returned true for the user of inactiveId/,
  ],
  ['returns from isActive whether a user may log in', { isActive: () => false }, /returned false for a user who may/],
  ['returns from isActive whether a user may log in', { isActive: () => 1 as never }, /returned 1 for a user who may/],
];

describe('The contract of a user store', () => {
  it('is fulfilled by a store with all optional methods and by one with none', async () => {
    const { findById, validateCredentials, getId } = store;
    const minimal: UserStore<Member> = { findById, validateCredentials, getId };
    for (const offered of [store, minimal]) {
      const under = { store: offered, users: [ANN, BOB], inactiveId: offered.isActive ? '3' : '4' } as const;
      for (const { check } of userStoreContract<Member>(() => under)) await check();
    }
  });

  it.each(BROKEN)('is not fulfilled by a store that breaks: %s (%#)', async (promise, broken, complaint) => {
    const under = { store: { ...store, ...broken }, users: [ANN, BOB], inactiveId: '3' } as const;
    const { check } = userStoreContract(() => under).find(({ name }) => name === promise)!;
    await expect(check()).rejects.toThrow(complaint);
  });

  it('has no check that every store passes', () => {
    const names = userStoreContract(() => ({ store, users: [ANN, BOB] })).map(({ name }) => name);
    expect(new Set(BROKEN.map(([name]) => name))).toEqual(new Set(names));
  });
});
