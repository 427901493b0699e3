import { describe, expect, it } from 'vitest';
import { resolveOptions } from '../lib/options/resolve-options.js';
import { lifetimesOf } from '../lib/tokens/token-lifetime.js';
import {
  BOUNDED_PURPOSES,
  DEVICE_PURPOSES,
  PURPOSES,
  rulesOf,
  type TokenPurpose,
} from '../lib/tokens/token-purpose.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;

describe('The table of purposes', () => {
  it.each([
    ['authenticates', ['access', 'obtained', 'personal']],
    ['refreshes', ['refresh', 'rotated']],
    ['isDevice', ['access', 'obtained', 'refresh']],
    ['isDerived', ['obtained']],
    ['isPersonal', ['personal']],
  ] as const)('says which tokens may do what: %s', (action, purposes) => {
    expect(PURPOSES.filter((purpose) => rulesOf(purpose)?.[action])).toEqual(purposes);
  });

  it('limits what a refresh adds to a device', () => {
    expect(PURPOSES.map((purpose) => [purpose, rulesOf(purpose)?.maxPerDevice])).toEqual([
      ['access', 5],
      ['obtained', null],
      ['refresh', null],
      ['rotated', null],
      ['personal', null],
    ]);
    expect(BOUNDED_PURPOSES).toEqual(['access']);
  });

  it('lists the purposes that make a device', () => {
    expect(DEVICE_PURPOSES).toEqual(['access', 'obtained', 'refresh']);
  });

  it.each(['single-use', 'ACCESS', '', 'constructor', '__proto__', 'toString'])(
    'allows nothing to a purpose that it does not know: %o',
    (purpose) => {
      expect(rulesOf(purpose as TokenPurpose)).toBeUndefined();
    },
  );
});

describe('The lifetime of each purpose', () => {
  it('is that of access tokens, or that of refresh tokens, as the options say', () => {
    const options = resolveOptions({ lifespan: '1h', idle: '2h', refresh: { idle: '7d', lifespan: '90d' } });
    const access = { lifespanMs: HOUR_MS, idleMs: 2 * HOUR_MS };
    expect(lifetimesOf(options)).toEqual({
      access,
      obtained: access,
      refresh: { lifespanMs: 90 * DAY_MS, idleMs: 7 * DAY_MS },
      rotated: { lifespanMs: 7 * DAY_MS, idleMs: Infinity },
      personal: { lifespanMs: 0, idleMs: 2 * HOUR_MS },
    });
  });

  it('is the default one for refresh tokens that were issued before the option was turned off', () => {
    const { refresh, rotated } = lifetimesOf(resolveOptions({}));
    expect(refresh).toEqual({ lifespanMs: 90 * DAY_MS, idleMs: 7 * DAY_MS });
    expect(rotated).toEqual({ lifespanMs: 7 * DAY_MS, idleMs: Infinity });
  });
});
