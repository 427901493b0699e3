import assert from 'node:assert/strict';
import { checkUserId } from '../users/user-id.js';
import type { Credentials, UserStore } from '../users/user-store.js';

/** A store, and who is in it. */
export interface UserStoreUnderTest<User = unknown> {
  /** The store. */
  store: UserStore<User>;
  /** Two users who may log in, with names and passwords of at least three characters that are all different. */
  users: readonly [Credentials, Credentials];
  /** Id of a user who may not log in, where the store has such; or of one that was deleted. */
  inactiveId?: string;
}

/** One thing that a {@link UserStore} promises. */
export interface UserStoreCheck {
  /** What it promises, as the end of a sentence that begins with the store. */
  name: string;
  /**
   * Resolves where it keeps the promise.
   *
   * @throws Error that says what it did instead
   */
  check: () => Promise<void>;
}

/** Strings that some database, driver or hash takes for another one, or cannot take. */
const ODD = ['', '\0', 'a\0b', '\ud800', '%', "' OR '1'='1", 'x'.repeat(10_000)];
/** Strings that some database makes a number of, or cannot. */
const ODD_NUMBERS = [' ', '-1', '1e400', '9'.repeat(30)];

/** How often each of two times is measured. The shortest counts: others had to wait for something else. */
const RUNS = 5;
/** A refusal that is quicker than this, in milliseconds, computes no hash. */
const HASH_MS = 5;
/** What no hash was computed for takes less than this part of the time of one. */
const MUCH_LESS = 1 / 3;

/** Strings that are nearly this one, and that some collation or comparison takes for it. */
function nearly(text: string): string[] {
  const variants = [
    text.toUpperCase(),
    text.toLowerCase(),
    text.replace(/\p{L}/u, (letter) => (letter === letter.toUpperCase() ? letter.toLowerCase() : letter.toUpperCase())),
    text.replace(/[a-z]/i, (letter) => `${letter}\u0301`),
    text.replace(/[!-~]/, (letter) => String.fromCodePoint(letter.codePointAt(0)! + 0xfee0)),
    text.normalize('NFD'),
    text.normalize('NFC'),
    `${text} `,
    ` ${text}`,
    `${text}\0`,
    `${text}\0x`,
    `${text}x`,
    `${text.slice(0, -1)}_`,
    `${text.slice(0, -1)}%`,
  ];
  return [...new Set(variants)].filter((variant) => variant !== text);
}

/** The user of credentials that are right. */
async function logIn<User>(store: UserStore<User>, credentials: Credentials): Promise<User> {
  const user = await store.validateCredentials(credentials);
  assert.ok(
    typeof user === 'object' && user !== null,
    'validateCredentials gave no user for the right name and password',
  );
  return user;
}

/** How long something takes at least, in milliseconds. */
async function shortest(...works: (() => Promise<unknown>)[]): Promise<number[]> {
  const shortestMs = works.map(() => Infinity);
  for (let run = 0; run < RUNS; run++) {
    for (const [index, work] of works.entries()) {
      const startedAt = performance.now();
      await work();
      shortestMs[index] = Math.min(shortestMs[index]!, performance.now() - startedAt);
    }
  }
  return shortestMs;
}

/**
 * What every {@link UserStore} promises, one check each, for whatever runs the tests.
 *
 * @param setUp - makes the store and its users, or returns those that there are: called by each check
 * @example
 * ```ts
 * describe('The directory', () => {
 *   const setUp = () => ({ store: new Directory(), users: [ann, bob] as const });
 *   for (const { name, check } of userStoreContract(setUp)) it(name, check);
 * });
 * ```
 */
export function userStoreContract<User>(
  setUp: () => UserStoreUnderTest<User> | Promise<UserStoreUnderTest<User>>,
): UserStoreCheck[] {
  const promise = (name: string, check: (under: UserStoreUnderTest<User>) => Promise<void>): UserStoreCheck => ({
    name,
    check: async () => check(await setUp()),
  });

  return [
    promise('knows each user by the right name and password', async ({ store, users: [ann, bob] }) => {
      const ids = [store.getId(await logIn(store, ann)), store.getId(await logIn(store, bob))];
      assert.notEqual(ids[0], ids[1], 'getId gave two users one id');
    }),

    promise('knows nobody by a wrong password', async ({ store, users: [ann, bob] }) => {
      for (const password of [bob.password, ann.password.slice(0, -1), ...nearly(ann.password), ...ODD]) {
        const user = await store.validateCredentials({ ...ann, password });
        assert.equal(user, null, `validateCredentials took the password ${JSON.stringify(password)}`);
      }
    }),

    promise('compares names exactly', async ({ store, users: [ann] }) => {
      for (const username of nearly(ann.username)) {
        const user = await store.validateCredentials({ ...ann, username });
        assert.equal(user, null, `validateCredentials took the name ${JSON.stringify(username)}`);
      }
    }),

    promise('knows nobody by an odd name, and does not throw', async ({ store, users: [{ password }] }) => {
      for (const username of ODD) {
        const asked = `for the name ${JSON.stringify(username.slice(0, 20))}`;
        const user = await store.validateCredentials({ username, password }).catch((error: unknown) => {
          assert.fail(`validateCredentials threw ${asked}: ${String(error)}`);
        });
        assert.equal(user, null, `validateCredentials gave a user ${asked}`);
      }
    }),

    promise('takes as long for an unknown name as for a wrong password', async ({ store, users: [ann, bob] }) => {
      const { password } = bob;
      const [wrongMs, unknownMs] = await shortest(
        () => store.validateCredentials({ ...ann, password }),
        () => store.validateCredentials({ username: `${ann.username}-nobody`, password }),
      );
      assert.ok(
        wrongMs! < HASH_MS || unknownMs! > wrongMs! * MUCH_LESS,
        `A wrong password took ${wrongMs!.toFixed(1)} ms, an unknown name ${unknownMs!.toFixed(1)} ms: compute one hash either way`,
      );
    }),

    promise('gives ids that tokens can be stored under, the same each time', async ({ store, users }) => {
      for (const credentials of users) {
        const id: unknown = store.getId(await logIn(store, credentials));
        checkUserId(id);
        assert.equal(store.getId(await logIn(store, credentials)), id, 'getId gave one user two ids');
      }
    }),

    promise('finds each user by the id', async ({ store, users }) => {
      for (const credentials of users) {
        const id = store.getId(await logIn(store, credentials));
        const found = await store.findById(id);
        assert.ok(typeof found === 'object' && found !== null, 'findById did not find the id that getId gave');
        assert.equal(store.getId(found), id, 'findById found another user');
      }
    }),

    promise('finds nobody by an id that it did not give, and does not throw', async ({ store, users: [ann] }) => {
      const id = store.getId(await logIn(store, ann));
      for (const unknown of [...nearly(id), `0${id}`, `${id}.0`, ...ODD, ...ODD_NUMBERS]) {
        const asked = `for the id ${JSON.stringify(unknown.slice(0, 60))}`;
        const found = await store.findById(unknown).catch((error: unknown) => {
          assert.fail(`findById threw ${asked}: ${String(error)}`);
        });
        assert.ok(found === null || store.getId(found) === unknown, `findById gave ${asked} another user`);
      }
    }),

    promise('finds several users at once, if it offers to', async ({ store, users }) => {
      if (!store.findByIds) return;
      const ids: string[] = [];
      for (const credentials of users) ids.push(store.getId(await logIn(store, credentials)));
      // An id of the same form that nobody has, where the database takes others for an error.
      const unknown = ids[0]!.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 5) % 10));
      const asked = unknown === ids[1] ? ids : [...ids, unknown];
      for (const wanted of [asked, [ids[1]!], [ids[0]!, ids[0]!], []]) {
        const found = await store.findByIds(wanted);
        const expected = ids.filter((id) => wanted.includes(id));
        const foundIds = [...new Set(found.map((user) => store.getId(user)))].toSorted();
        assert.deepEqual(foundIds, expected.toSorted(), 'findByIds found others than were asked for');
      }
    }),

    promise('finds a user by the exact name, if it offers to', async ({ store, users }) => {
      if (!store.findByUsername) return;
      for (const credentials of users) {
        const { username } = credentials;
        const found = await store.findByUsername(username);
        assert.ok(found !== null, `findByUsername did not find ${JSON.stringify(username)}`);
        assert.equal(
          store.getId(found),
          store.getId(await logIn(store, credentials)),
          'findByUsername found another user',
        );
        for (const other of [...nearly(username), ...ODD])
          assert.equal(
            await store.findByUsername(other),
            null,
            `findByUsername took the name ${JSON.stringify(other)}`,
          );
      }
    }),

    promise('says of each user, with true or false, who may log in', async ({ store, users, inactiveId }) => {
      for (const credentials of users) {
        const user = await logIn(store, credentials);
        const found = (await store.findById(store.getId(user))) ?? user;
        for (const active of [user, found].map((one): unknown => store.isActive?.(one) ?? true))
          assert.equal(active, true, `isActive gave ${String(active)} for a user who may log in`);
      }
      if (inactiveId === undefined) return;
      const inactive = await store.findById(inactiveId);
      const active: unknown = inactive === null ? false : (store.isActive?.(inactive) ?? true);
      assert.equal(active, false, `isActive gave ${String(active)} for the user of inactiveId`);
    }),
  ];
}
