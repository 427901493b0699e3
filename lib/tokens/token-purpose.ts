/**
 * What a token is for. A login, or a call of `issue`, creates an `access` token, and `POST obtain-token` an `obtained` one. A
 * `refresh` token is exchanged for new tokens of its device. `rotated` is a refresh token that was exchanged: it is kept so that
 * a second use of it is recognized. A user makes a `personal` token for a script or a machine.
 */
export type TokenPurpose = 'access' | 'obtained' | 'refresh' | 'rotated' | 'personal';

/** What the tokens of one purpose may do. */
export interface PurposeRules {
  /** A request may be authenticated with the token. */
  readonly authenticates: boolean;
  /** The token may be presented at `POST refresh`. */
  readonly refreshes: boolean;
  /** While the token is valid, its device is listed and counts for the option `limit`. */
  readonly isDevice: boolean;
  /** With the option `secret` the token is derived from it, so that it can be shown again. */
  readonly isDerived: boolean;
  /**
   * A user made the token for a script or a machine, with the option `personal`: it begins with a prefix of its own, manages
   * nothing of its user, and does not end with the devices of its user.
   */
  readonly isPersonal: boolean;
  /** Which lifetime applies: see `lifetimesOf`. */
  readonly lifetime: 'access' | 'refresh' | 'rotated' | 'personal';
  /**
   * How many live tokens of the purpose a device keeps at a refresh, the newest ones; null if a refresh adds none. Without it,
   * the holder of one refresh token could fill the table, and make every statement over the user's rows slow.
   */
  readonly maxPerDevice: number | null;
}

/** The one table of purposes. A new purpose is a line here, and the script that issues it. */
export const PURPOSE_RULES: Readonly<Record<TokenPurpose, PurposeRules>> = {
  access: {
    authenticates: true,
    refreshes: false,
    isDevice: true,
    isDerived: false,
    isPersonal: false,
    lifetime: 'access',
    maxPerDevice: 5,
  },
  obtained: {
    authenticates: true,
    refreshes: false,
    isDevice: true,
    isDerived: true,
    isPersonal: false,
    lifetime: 'access',
    maxPerDevice: null,
  },
  refresh: {
    authenticates: false,
    refreshes: true,
    isDevice: true,
    isDerived: false,
    isPersonal: false,
    lifetime: 'refresh',
    maxPerDevice: null,
  },
  rotated: {
    authenticates: false,
    refreshes: true,
    isDevice: false,
    isDerived: false,
    isPersonal: false,
    lifetime: 'rotated',
    maxPerDevice: null,
  },
  personal: {
    authenticates: true,
    refreshes: false,
    isDevice: false,
    isDerived: false,
    isPersonal: true,
    lifetime: 'personal',
    maxPerDevice: null,
  },
};

/** Every purpose. */
export const PURPOSES = Object.keys(PURPOSE_RULES) as readonly TokenPurpose[];

/** The purposes whose tokens make a device. */
export const DEVICE_PURPOSES = PURPOSES.filter((purpose) => PURPOSE_RULES[purpose].isDevice);

/** The purposes whose tokens do not end with the devices of their user. */
export const PERSONAL_PURPOSES = PURPOSES.filter((purpose) => PURPOSE_RULES[purpose].isPersonal);

/** The purposes whose tokens a refresh adds to a device. */
export const BOUNDED_PURPOSES = PURPOSES.filter((purpose) => PURPOSE_RULES[purpose].maxPerDevice !== null);

/** The purposes whose tokens are exchanged at a refresh. */
export const REFRESHING_PURPOSES = PURPOSES.filter((purpose) => PURPOSE_RULES[purpose].refreshes);

/**
 * What the tokens of a row's purpose may do. A row can hold a purpose that this version does not know, for example one from
 * a later version: such a token may do nothing.
 */
export const rulesOf = (purpose: TokenPurpose): PurposeRules | undefined =>
  Object.hasOwn(PURPOSE_RULES, purpose) ? PURPOSE_RULES[purpose] : undefined;
