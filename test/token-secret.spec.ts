import { createSecretKey, randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  deriveToken,
  digestToken,
  generateToken,
  identifyToken,
  matchesDigest,
  parseToken,
} from '../lib/tokens/secret/token-secret.js';
import { bytesFromUuid, isUuid, uuidFromBytes, uuidV7 } from '../lib/database/uuid-v7.js';
import { IS_THOROUGH } from './fixtures/iterations.js';

const PREFIX = 'ext_';
const uuids = fc.uint8Array({ minLength: 16, maxLength: 16 }).map(uuidFromBytes);
const tokens = uuids.map((id) => generateToken(PREFIX, id));

describe('A token', () => {
  it('is the prefix and 70 base64url characters', () => {
    fc.assert(fc.property(tokens, (token) => /^ext_[A-Za-z0-9_-]{70}$/.test(token)));
  });

  it('contains the id of its row', () => {
    fc.assert(
      fc.property(uuids, fc.stringMatching(/^[A-Za-z0-9_-]{1,20}$/), (id, prefix) => {
        expect(parseToken([prefix], generateToken(prefix, id))).toBe(id);
      }),
    );
  });

  it('is rejected with any one character changed, added or removed', () => {
    const changes = fc.tuple(
      tokens,
      fc.nat(200),
      fc.constantFrom('replace', 'insert', 'remove'),
      fc.string({ unit: 'binary', minLength: 1, maxLength: 1 }),
    );
    fc.assert(
      fc.property(changes, ([token, position, change, character]) => {
        const at = position % token.length;
        const changed =
          token.slice(0, at) + (change === 'remove' ? '' : character) + token.slice(change === 'insert' ? at : at + 1);
        fc.pre(changed !== token);
        expect(parseToken([PREFIX], changed)).toBeNull();
      }),
      { numRuns: 5000 },
    );
  });

  it('is rejected with any two characters changed', () => {
    const other = 'Z';
    const token = generateToken(PREFIX, uuidV7(0));
    for (let first = 0; first < token.length; first++) {
      for (let second = first + 1; second < token.length; second++) {
        const changed = [...token].map((character, at) => (at === first || at === second ? other : character)).join('');
        if (changed !== token) expect(parseToken([PREFIX], changed), `first ${first}, second ${second}`).toBeNull();
      }
    }
  });

  it('is rejected with another prefix, and if it is not a string', () => {
    const token = generateToken(PREFIX, uuidV7(0));
    expect(parseToken(['abc_'], token)).toBeNull();
    expect(parseToken(['ext'], token)).toBeNull();
    for (const value of [undefined, null, 7, {}, [token], Buffer.from(token)])
      expect(parseToken([PREFIX], value), JSON.stringify(value)).toBeNull();
  });

  it('begins with one of several prefixes, of any length, and its checksum covers the prefix', () => {
    const id = uuidV7(0);
    const prefixes = [PREFIX, 'a-longer-prefix_'];
    for (const prefix of prefixes) expect(parseToken(prefixes, generateToken(prefix, id)), prefix).toBe(id);
    const renamed = generateToken('abcd', id).replace('abcd', 'efgh');
    expect(parseToken(['abcd', 'efgh'], renamed)).toBeNull();
    expect(parseToken([], generateToken(PREFIX, id))).toBeNull();
  });

  /** Counts different tokens, and measures how unevenly characters are distributed in each position that is purely random. */
  function spread(count: number, make: (index: number) => string): { distinct: number; chiSquared: number[] } {
    const [first, places, symbols] = [PREFIX.length + 22, 42, 128];
    const seen = new Set<string>();
    const counts = new Uint32Array(places * symbols);
    for (let row = 0; row < count; row++) {
      const token = make(row);
      // 96 random bits are enough to tell a million tokens apart.
      seen.add(token.slice(first, first + 16));
      for (let place = 0; place < places; place++) counts[place * symbols + token.charCodeAt(first + place)]!++;
    }
    const mean = count / 64;
    const chiSquared = Array.from({ length: places }, (_, place) => {
      const came = [...counts.subarray(place * symbols, (place + 1) * symbols)].filter((times) => times > 0);
      return came.reduce((sum, times) => sum + (times - mean) ** 2 / mean, (64 - came.length) * mean);
    });
    return { distinct: seen.size, chiSquared };
  }

  // With 63 degrees of freedom, a good source exceeds 150 less than once in a hundred million runs.
  const LARGEST_DEVIATION = 150;

  it.runIf(IS_THOROUGH)(
    'is unique: a million tokens of one row differ, and their characters are evenly distributed',
    { timeout: 120_000 },
    () => {
      const id = uuidV7(0);
      const { distinct, chiSquared } = spread(1_000_000, () => generateToken(PREFIX, id));
      expect(distinct).toBe(1_000_000);
      expect(Math.max(...chiSquared)).toBeLessThan(LARGEST_DEVIATION);
    },
  );

  it('that is derived from a secret differs for thirty thousand rows, with evenly distributed characters', () => {
    const key = createSecretKey(randomBytes(32));
    const { distinct, chiSquared } = spread(30_000, (row) => deriveToken(PREFIX, uuidV7(row), key));
    expect(distinct).toBe(30_000);
    expect(Math.max(...chiSquared)).toBeLessThan(LARGEST_DEVIATION);
  });

  it('that is derived from a secret is reproducible, and differs for another row or secret', () => {
    const key = createSecretKey(randomBytes(32));
    const [id, other] = [uuidV7(0), uuidV7(0)];
    expect(deriveToken(PREFIX, id, key)).toBe(deriveToken(PREFIX, id, key));
    expect(deriveToken(PREFIX, other, key)).not.toBe(deriveToken(PREFIX, id, key));
    expect(deriveToken(PREFIX, id, createSecretKey(randomBytes(32)))).not.toBe(deriveToken(PREFIX, id, key));
    expect(parseToken([PREFIX], deriveToken(PREFIX, id, key))).toBe(id);
  });

  it('matches its own digest only, and no truncated or empty one', () => {
    const token = generateToken(PREFIX, uuidV7(0));
    const digest = digestToken(token);
    expect(matchesDigest(token, digest)).toBe(true);
    for (const length of [0, 1, 31, 33, 64]) {
      expect(matchesDigest(token, Buffer.alloc(length)), `length ${length}`).toBe(false);
      expect(matchesDigest(token, Buffer.concat([digest, digest]).subarray(0, length)), `length ${length}`).toBe(false);
    }
    for (let bit = 0; bit < 256; bit++) {
      const other = Buffer.from(digest);
      other[bit >> 3]! ^= 1 << (bit & 7);
      expect(matchesDigest(token, other), `bit ${bit}`).toBe(false);
    }
  });

  it('has a digest of 32 bytes, which is the SHA-256 of the whole string', () => {
    expect(digestToken('abc').toString('hex')).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
  });
});

describe('A row id', () => {
  it('is a UUIDv7 that sorts by time', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 40), fc.integer({ min: 1, max: 2 ** 40 }), (time, later) => {
        const [first, second] = [uuidV7(time), uuidV7(time + later)];
        expect(first).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
        expect(Number.parseInt(first.slice(0, 8) + first.slice(9, 13), 16)).toBe(time);
        expect(first < second).toBe(true);
      }),
    );
  });

  it('has one form: bytes and text turn into each other, and no other spelling is taken', () => {
    fc.assert(fc.property(uuids, (id) => uuidFromBytes(bytesFromUuid(id)) === id && isUuid(id)));
    const id = 'aabbccdd-0011-7233-8455-66778899aabb';
    for (const spelling of [
      id.toUpperCase(),
      id.replaceAll('-', ''),
      `{${id}}`,
      ` ${id}`,
      `${id}\n`,
      `${id}0`,
      7,
      null,
    ]) {
      expect(isUuid(spelling), JSON.stringify(spelling)).toBe(false);
    }
  });
});

describe('An imported token', () => {
  const DRF = '0123456789abcdef0123456789abcdef01234567';
  const SANCTUM = 'aB3xYz'.repeat(8);

  /** The part of a presented token that is digested, or undefined if its shape is not enabled. */
  const digested = (presented: unknown, imported: ('drf' | 'sanctum')[]) =>
    identifyToken([PREFIX], presented, imported)?.digested;

  it('of Django REST framework is digested as a whole', () => {
    expect(digested(DRF, ['drf'])).toBe(DRF);
    for (const other of [DRF.toUpperCase(), DRF.slice(1), `${DRF}0`, `${DRF}\n`, `1|${DRF}`, SANCTUM]) {
      expect(digested(other, ['drf']), other).toBeUndefined();
    }
  });

  it('of Sanctum is digested without its row id, of whatever type, and with its prefix', () => {
    const keys = ['', '7|', '4b0c5a3e-7a1f-4b57-9d3c-0f1e2d3c4b5a|', '01JD3Q5V8Z9YH2M4N6P7R8S9T0|'];
    for (const key of keys) expect(digested(key + SANCTUM, ['sanctum']), key).toBe(SANCTUM);
    expect(digested(`7|my-app_${SANCTUM}`, ['drf', 'sanctum'])).toBe(`my-app_${SANCTUM}`);
    for (const other of [`|${SANCTUM}`, `7|7|${SANCTUM}`, `7|${SANCTUM} `, '7|short', `7|${SANCTUM.repeat(3)}`]) {
      expect(digested(other, ['sanctum']), other).toBeUndefined();
    }
  });

  it('is found by the start of its digest, and only if its shape is enabled', () => {
    const id = uuidFromBytes(digestToken(DRF).subarray(0, 16));
    expect(identifyToken([PREFIX], DRF, ['drf'])).toEqual({ id, digested: DRF });
    fc.assert(fc.property(fc.anything(), (presented) => identifyToken([PREFIX], presented, []) === null));
    for (const [index, presented] of [DRF, SANCTUM, `7|${SANCTUM}`].entries())
      expect(digested(presented, []), `presented ${index}`).toBeUndefined();
  });

  it('does not interfere with tokens of this package', () => {
    fc.assert(
      fc.property(uuids, (id) => {
        const token = generateToken(PREFIX, id);
        expect(identifyToken([PREFIX], token, ['drf', 'sanctum'])).toMatchObject({ id, digested: token });
      }),
    );
  });
});
