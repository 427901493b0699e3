/** The databases that the package runs on. */
export type DatabaseName = 'postgres' | 'mariadb' | 'sqlite';

/** Rows of `auth_token` as the package writes them, of access tokens that nobody has. */
export interface Filling {
  tokens: number;
  /** They have equally many tokens each, which lie apart in time. */
  users: number;
  /** The tokens are created evenly between these instants, in milliseconds since the epoch. */
  from: number;
  until: number;
  /** Every tenth token was used then; the others never. */
  usedAt?: number;
}

/** What the databases spell differently. */
interface Dialect {
  /** The numbers from one to that, as `n`. */
  numbers: (last: number) => string;
  /** The id of a token, from its time in milliseconds and 8 more hexadecimal digits. */
  tokenId: (milliseconds: string, digits: string) => string;
  /** A number as so many hexadecimal digits in lower case. */
  hex: (number: string, digits: number) => string;
  /** The id of a user from its text. */
  userKey: (text: string) => string;
  quotient: (dividend: string, divisor: number) => string;
  digest: string;
  device: string;
  yes: string;
}

const DIALECTS: Record<DatabaseName, Dialect> = {
  sqlite: {
    numbers: (last) =>
      `(WITH RECURSIVE numbers(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM numbers WHERE n < ${last}) SELECT n FROM numbers)`,
    tokenId: (milliseconds, digits) =>
      `printf('%08x-%04x-7000-8000-0000', (${milliseconds}) >> 16, (${milliseconds}) & 65535) || ${digits}`,
    hex: (number, digits) => `printf('%0${digits}x', ${number})`,
    userKey: (text) => text,
    quotient: (dividend, divisor) => `(${dividend}) / ${divisor}`,
    digest: 'randomblob(32)',
    device: `lower(hex(randomblob(4)) || '-0000-7000-8000-' || hex(randomblob(6)))`,
    yes: '1',
  },
  postgres: {
    numbers: (last) => `generate_series(1, ${last}::bigint) AS numbers(n)`,
    tokenId: (milliseconds, digits) =>
      `(lpad(to_hex(${milliseconds}), 12, '0') || '70008000' || '0000' || ${digits})::uuid`,
    hex: (number, digits) => `lpad(to_hex(${number}), ${digits}, '0')`,
    userKey: (text) => `(${text})::uuid`,
    quotient: (dividend, divisor) => `(${dividend}) / ${divisor}`,
    digest: `sha256(n::text::bytea)`,
    device: 'gen_random_uuid()',
    yes: 'true',
  },
  mariadb: {
    numbers: (last) => `(SELECT seq AS n FROM seq_1_to_${last}) AS numbers`,
    tokenId: (milliseconds, digits) =>
      `UNHEX(CONCAT(LPAD(HEX(${milliseconds}), 12, '0'), '70008000', '0000', ${digits}))`,
    hex: (number, digits) => `LPAD(LOWER(HEX(${number})), ${digits}, '0')`,
    userKey: (text) => text,
    quotient: (dividend, divisor) => `(${dividend}) DIV ${divisor}`,
    digest: 'UNHEX(SHA2(n, 256))',
    device: 'UNHEX(MD5(RAND()))',
    yes: '1',
  },
};

/** A number of 32 bits that belongs to another one, and is not in its order. */
const scattered = (number: string) => `((${number}) * 2654435761) % 4294967296`;

const joined = (name: DatabaseName, ...parts: string[]) =>
  name === 'mariadb' ? `CONCAT(${parts.join(', ')})` : parts.join(' || ');

/** Milliseconds since the epoch in which the token `n` was created. */
const createdIn = (name: DatabaseName, { tokens, from, until }: Filling) =>
  `${from} + ${DIALECTS[name].quotient(`n * ${until - from}`, tokens)}`;

/** SQL for the id of the token `n`, as its column has it. */
export function tokenIdIn(name: DatabaseName, filling: Filling): string {
  const dialect = DIALECTS[name];
  return dialect.tokenId(createdIn(name, filling), dialect.hex(scattered('n'), 8));
}

/**
 * Statements that fill the tables of the package within the database, row after row in the order of time: its indexes are as
 * large as those that have grown.
 */
export function fillingStatements(name: DatabaseName, filling: Filling): string[] {
  const { tokens, users, usedAt } = filling;
  const { numbers, hex, userKey, digest, device, yes } = DIALECTS[name];
  const userId = (number: string) => joined(name, hex(scattered(number), 8), `'-0000-7000-8000-'`, hex(number, 12));
  const row = {
    id: tokenIdIn(name, filling),
    user_id: userId(`n % ${users} + 1`),
    device_id: device,
    purpose: `'access'`,
    digest,
    created: createdIn(name, filling),
    last_used_at: usedAt === undefined ? 'NULL' : `CASE n % 10 WHEN 0 THEN ${usedAt} END`,
  };
  return [
    `INSERT INTO auth_user (id, username, active) SELECT ${userKey(userId('n'))}, ${userId('n')}, ${yes} FROM ${numbers(users)}`,
    `INSERT INTO auth_token (${Object.keys(row).join(', ')}) SELECT ${Object.values(row).join(', ')} FROM ${numbers(tokens)}`,
    name === 'mariadb' ? 'ANALYZE TABLE auth_token, auth_user' : 'ANALYZE',
  ];
}

const COLUMNS =
  'id, user_id, device_id, purpose, digest, name, user_agent, created, lifespan, last_used_at, sealed, sealed_until';

const BARE_TABLE: Record<DatabaseName, string> = {
  postgres: 'CREATE TABLE bare (number bigint PRIMARY KEY, LIKE auth_token)',
  mariadb: 'CREATE TABLE bare (number bigint PRIMARY KEY) SELECT 0 AS number, auth_token.* FROM auth_token LIMIT 0',
  sqlite: `CREATE TABLE bare (number INTEGER PRIMARY KEY, ${COLUMNS})`,
};

/** Statements that copy the rows of `auth_token` into a table whose primary key is their number. */
export const bareStatements = (name: DatabaseName): string[] => [
  BARE_TABLE[name],
  `INSERT INTO bare (number, ${COLUMNS}) SELECT row_number() OVER (ORDER BY id), ${COLUMNS} FROM auth_token`,
  name === 'mariadb' ? 'ANALYZE TABLE bare' : 'ANALYZE',
];
