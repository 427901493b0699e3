/** A usual one, for {@link Filling.userAgent}. */
export const USER_AGENT =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36';

/** The databases that the package runs on. */
export type DatabaseName = 'postgres' | 'mariadb' | 'sqlite';

/** Rows of `auth_token` as the package writes them. The plain texts of these access tokens do not exist. */
export interface Filling {
  tokens: number;
  /** Number of users. Each has the same number of tokens, spread over the whole time. */
  users: number;
  /** The tokens are created evenly between these instants, in milliseconds since the epoch. */
  from: number;
  until: number;
  /** Last use of every tenth token. The other tokens were never used. */
  usedAt?: number;
  /** The user agent of each device, which its login stored; without it, tokens as `issue` makes them. */
  userAgent?: string;
}

/** The SQL expressions that differ between the databases. */
interface Dialect {
  /** A table expression with the numbers from 1 to `last` in the column `n`. */
  numbers: (last: number) => string;
  /** The id of a token, built from its time in milliseconds and 8 more hexadecimal digits. */
  tokenId: (milliseconds: string, digits: string) => string;
  /** A number as lower-case hexadecimal text with the given number of digits. */
  hex: (number: string, digits: number) => string;
  /** The id of a user, converted from its text form to the column type. */
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

/** Maps a number to a 32-bit number, so that consecutive numbers become scattered. */
const scatter = (number: string) => `((${number}) * 2654435761) % 4294967296`;

const concat = (name: DatabaseName, ...parts: string[]) =>
  name === 'mariadb' ? `CONCAT(${parts.join(', ')})` : parts.join(' || ');

/** SQL for the creation time of the token `n`, in milliseconds since the epoch. */
const createdIn = (name: DatabaseName, { tokens, from, until }: Filling) =>
  `${from} + ${DIALECTS[name].quotient(`n * ${until - from}`, tokens)}`;

/** SQL for the id of the token `n`, in the type of its column. */
export function tokenIdIn(name: DatabaseName, filling: Filling): string {
  const dialect = DIALECTS[name];
  return dialect.tokenId(createdIn(name, filling), dialect.hex(scatter('n'), 8));
}

/**
 * Statements that fill the tables inside the database, row by row in the order of time, so that the indexes become as large as
 * those of a table that grew slowly.
 */
export function fillingStatements(name: DatabaseName, filling: Filling): string[] {
  const { tokens, users, usedAt, userAgent } = filling;
  const { numbers, hex, userKey, digest, device, yes } = DIALECTS[name];
  const userId = (number: string) => concat(name, hex(scatter(number), 8), `'-0000-7000-8000-'`, hex(number, 12));
  const row = {
    id: tokenIdIn(name, filling),
    user_id: userId(`n % ${users} + 1`),
    device_id: device,
    purpose: `'access'`,
    digest,
    user_agent: userAgent === undefined ? 'NULL' : `'${userAgent}'`,
    created: createdIn(name, filling),
    authenticated_at: userAgent === undefined ? 'NULL' : createdIn(name, filling),
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

/** Statements that copy the rows of `auth_token` into a table `bare`, whose primary key is a row number. */
export const bareStatements = (name: DatabaseName): string[] => [
  BARE_TABLE[name],
  `INSERT INTO bare (number, ${COLUMNS}) SELECT row_number() OVER (ORDER BY id), ${COLUMNS} FROM auth_token`,
  name === 'mariadb' ? 'ANALYZE TABLE bare' : 'ANALYZE',
];
