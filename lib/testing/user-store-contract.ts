import assert from 'node:assert/strict';
import { checkUserId } from '../users/user-id.js';
import type { Credentials, UserStore } from '../users/user-store.js';

/** A store under test, and its users. */
export interface UserStoreUnderTest<User = unknown> {
  /** The store. */
  store: UserStore<User>;
  /** Two users who may log in. Their names and passwords are all different, and at least three characters long. */
  users: readonly [Credentials, Credentials];
  /** Id of an inactive user, if the store has inactive users, or of a deleted one. */
  inactiveId?: string;
}

/** A check of one requirement of {@link UserStore}. */
export interface UserStoreCheck {
  /** The requirement, as the end of a sentence that begins with the store. */
  name: string;
  /**
   * Resolves if the store meets the requirement.
   *
   * @throws Error that describes what the store did instead
   */
  check: () => Promise<void>;
}

/** Strings that some database, driver or hash function confuses with another string, or rejects. */
const ODD = ['', '\0', 'a\0b', '\ud800', '%', "' OR '1'='1", 'x'.repeat(10_000)];
/** Strings that some database converts to a number, or cannot convert. */
const ODD_NUMBERS = [' ', '-1', '1e400', '9'.repeat(30)];

/** How often each duration is measured. The shortest one counts: the others include waiting for something else. */
const RUNS = 5;
/** A rejection that takes less than this, in milliseconds, computes no hash. */
const HASH_MS = 5;
/** A rejection without a hash takes less than this fraction of the time of a rejection with one. */
const MIN_RATIO = 1 / 3;

/** Strings that differ from this one, and that some collation or comparison treats as equal. */
function similarTo(text: string): string[] {
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

/** Logs in with valid credentials, and returns the user. */
async function logIn<User>(store: UserStore<User>, credentials: Credentials): Promise<User> {
  const user = await store.validateCredentials(credentials);
  assert.ok(
    typeof user === 'object' && user !== null,
    'validateCredentials returned no user for the right name and password',
  );
  return user;
}

/** Measures the minimum duration of each function, in milliseconds. */
async function minDurations(...works: (() => Promise<unknown>)[]): Promise<number[]> {
  const durationsMs = works.map(() => Infinity);
  for (let run = 0; run < RUNS; run++) {
    for (const [index, work] of works.entries()) {
      const startedAt = performance.now();
      await work();
      durationsMs[index] = Math.min(durationsMs[index]!, performance.now() - startedAt);
    }
  }
  return durationsMs;
}

/**
 * Returns one check for each requirement of {@link UserStore}. They run in any test framework.
 *
 * @param setUp - returns the store and its users, new or existing ones. It is called by each check
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
  const requirement = (name: string, check: (under: UserStoreUnderTest<User>) => Promise<void>): UserStoreCheck => ({
    name,
    check: async () => check(await setUp()),
  });

  return [
    requirement('accepts the right name and password of each user', async ({ store, users: [ann, bob] }) => {
      const ids = [store.getId(await logIn(store, ann)), store.getId(await logIn(store, bob))];
      assert.notEqual(ids[0], ids[1], 'getId returned the same id for two users');
    }),

    requirement('confirms the credentials that it accepted', async ({ store, users }) => {
      for (const credentials of users) {
        const isValid: unknown = await store.isStillValid?.(await logIn(store, credentials), credentials);
        assert.ok(isValid === undefined || isValid === true, 'isStillValid rejected what validateCredentials accepted');
      }
    }),

    requirement('rejects a wrong password', async ({ store, users: [ann, bob] }) => {
      for (const password of [bob.password, ann.password.slice(0, -1), ...similarTo(ann.password), ...ODD]) {
        const user = await store.validateCredentials({ ...ann, password });
        assert.equal(user, null, `validateCredentials accepted the password ${JSON.stringify(password)}`);
      }
    }),

    requirement('compares names exactly', async ({ store, users: [ann] }) => {
      for (const username of similarTo(ann.username)) {
        const user = await store.validateCredentials({ ...ann, username });
        assert.equal(user, null, `validateCredentials accepted the name ${JSON.stringify(username)}`);
      }
    }),

    requirement('rejects an odd name, and does not throw', async ({ store, users: [{ password }] }) => {
      for (const username of ODD) {
        const condition = `for the name ${JSON.stringify(username.slice(0, 20))}`;
        const user = await store.validateCredentials({ username, password }).catch((error: unknown) => {
          assert.fail(`validateCredentials threw ${condition}: ${String(error)}`);
        });
        assert.equal(user, null, `validateCredentials returned a user ${condition}`);
      }
    }),

    requirement('takes as long for an unknown name as for a wrong password', async ({ store, users: [ann, bob] }) => {
      const { password } = bob;
      const [wrongMs, unknownMs] = await minDurations(
        () => store.validateCredentials({ ...ann, password }),
        () => store.validateCredentials({ username: `${ann.username}-nobody`, password }),
      );
      assert.ok(
        wrongMs! < HASH_MS || unknownMs! > wrongMs! * MIN_RATIO,
        `A wrong password took ${wrongMs!.toFixed(1)} ms, an unknown name ${unknownMs!.toFixed(1)} ms: compute one hash either way`,
      );
    }),

    requirement('gives ids that tokens can be stored under, the same each time', async ({ store, users }) => {
      for (const credentials of users) {
        const id: unknown = store.getId(await logIn(store, credentials));
        checkUserId(id);
        assert.equal(
          store.getId(await logIn(store, credentials)),
          id,
          'getId returned different ids for the same user',
        );
      }
    }),

    requirement('finds each user by the id', async ({ store, users }) => {
      for (const credentials of users) {
        const id = store.getId(await logIn(store, credentials));
        const found = await store.findById(id);
        assert.ok(typeof found === 'object' && found !== null, 'findById did not find the id that getId returned');
        assert.equal(store.getId(found), id, 'findById returned another user');
      }
    }),

    requirement('finds nobody by an unknown id, and does not throw', async ({ store, users: [ann] }) => {
      const id = store.getId(await logIn(store, ann));
      for (const unknown of [...similarTo(id), `0${id}`, `${id}.0`, ...ODD, ...ODD_NUMBERS]) {
        const condition = `for the id ${JSON.stringify(unknown.slice(0, 60))}`;
        const found = await store.findById(unknown).catch((error: unknown) => {
          assert.fail(`findById threw ${condition}: ${String(error)}`);
        });
        assert.ok(found === null || store.getId(found) === unknown, `findById returned another user ${condition}`);
      }
    }),

    requirement('finds several users with one call, if it has findByIds', async ({ store, users }) => {
      if (!store.findByIds) return;
      const ids: string[] = [];
      for (const credentials of users) ids.push(store.getId(await logIn(store, credentials)));
      // An unknown id of the same form: for some databases an id of another form is an error.
      const unknown = ids[0]!.replace(/\d(?=\D*$)/, (digit) => String((Number(digit) + 5) % 10));
      const idsAndUnknown = unknown === ids[1] ? ids : [...ids, unknown];
      for (const requested of [idsAndUnknown, [ids[1]!], [ids[0]!, ids[0]!], []]) {
        const found = await store.findByIds(requested);
        const expected = ids.filter((id) => requested.includes(id));
        const foundIds = [...new Set(found.map((user) => store.getId(user)))].toSorted();
        assert.deepEqual(foundIds, expected.toSorted(), 'findByIds returned other users than those with these ids');
      }
    }),

    requirement('finds a user by the exact name, if it has findByUsername', async ({ store, users }) => {
      if (!store.findByUsername) return;
      for (const credentials of users) {
        const { username } = credentials;
        const found = await store.findByUsername(username);
        assert.ok(found !== null, `findByUsername did not find ${JSON.stringify(username)}`);
        assert.equal(
          store.getId(found),
          store.getId(await logIn(store, credentials)),
          'findByUsername returned another user',
        );
        for (const other of [...similarTo(username), ...ODD])
          assert.equal(
            await store.findByUsername(other),
            null,
            `findByUsername accepted the name ${JSON.stringify(other)}`,
          );
      }
    }),

    requirement('gives isActive the same user at a login as on a request', async ({ store, users }) => {
      if (!store.isActive) return;
      for (const credentials of users) {
        const user = await logIn(store, credentials);
        const found = await store.findById(store.getId(user));
        assert.deepEqual(
          user,
          found,
          'validateCredentials returned another user than findById, for example without a relation or a computed property',
        );
      }
    }),

    requirement('returns from isActive whether a user may log in', async ({ store, users, inactiveId }) => {
      for (const credentials of users) {
        const user = await logIn(store, credentials);
        const found = (await store.findById(store.getId(user))) ?? user;
        for (const active of [user, found].map((loaded): unknown => store.isActive?.(loaded) ?? true))
          assert.equal(active, true, `isActive returned ${String(active)} for a user who may log in`);
      }
      if (inactiveId === undefined) return;
      const inactive = await store.findById(inactiveId);
      const active: unknown = inactive === null ? false : (store.isActive?.(inactive) ?? true);
      assert.equal(active, false, `isActive returned ${String(active)} for the user of inactiveId`);
    }),
  ];
}
