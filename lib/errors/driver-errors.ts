/**
 * The cause of a driver's error:
 *
 * - `duplicate`: a row with this unique key exists already
 * - `value`: the value does not fit the type of the column, or is out of its range
 * - `comparison`: columns of these types or collations cannot be compared
 * - `conflict`: the server aborted one of two conflicting transactions; a retry succeeds
 * - `locked`: another transaction did not release a lock in the time that the server, or this package, waits for one
 * - `stale`: a prepared statement is missing, or different from what was prepared; a retry succeeds
 * - `session`: the application left the connection in a transaction or with a setting in which the statement does not belong;
 *   nothing of the statement lasts once the connection is closed, and another connection may work
 * - `readonly`: the connection leads to a replica, for example to a primary that became one, or the application made its session
 *   read-only; a new connection may work
 * - `lost`: the connection is closed; a new connection may work
 * - `outage`: the database cannot run any statement at the moment
 * - `missing`: a table, or its schema, does not exist
 * - `unusable`: a table lacks a column, or the account of the application lacks a privilege
 * - `other`: an error that is none of these
 */
export type DriverErrorKind =
  | 'duplicate'
  | 'value'
  | 'comparison'
  | 'conflict'
  | 'locked'
  | 'stale'
  | 'session'
  | 'readonly'
  | 'lost'
  | 'outage'
  | 'missing'
  | 'unusable'
  | 'other';

/** The code of {@link LeftInTransactionError}. */
const LEFT_IN_TRANSACTION = 'LEFT_IN_TRANSACTION';

/** The code of {@link ReplicaError}. */
const ON_REPLICA = 'ON_REPLICA';

/** The drivers' error codes. `*` stands for any characters. */
const CODES: Record<Exclude<DriverErrorKind, 'other'>, readonly string[]> = {
  duplicate: ['23505', 'ER_DUP_ENTRY', 'SQLITE_CONSTRAINT_PRIMARYKEY', 'SQLITE_CONSTRAINT_UNIQUE'],
  value: [
    // PostgreSQL: all data exceptions, for example a character that the encoding of the database lacks.
    '22*',
    'ER_DATA_TOO_LONG',
    'ER_TRUNCATED_WRONG_VALUE*',
    'ER_WARN_DATA_OUT_OF_RANGE',
    'ER_INVALID_CHARACTER_STRING',
    'ER_CANNOT_CONVERT_STRING',
    'ER_CANT_AGGREGATE_*COLLATIONS',
    'SQLITE_TOOBIG',
    'SQLITE_MISMATCH',
  ],
  comparison: ['42804', '42883', '42P22'],
  conflict: ['40001', '40P01', 'ER_LOCK_DEADLOCK', 'SQLITE_BUSY*', 'SQLITE_LOCKED*'],
  locked: ['55P03', 'ER_LOCK_WAIT_TIMEOUT'],
  // PostgreSQL: a connection pooler dropped a prepared statement or gave it to another client, or a migration changed a table.
  stale: ['0A000', '26000', '42P05'],
  session: [
    LEFT_IN_TRANSACTION,
    // PostgreSQL: a transaction that an error aborted, and a transaction that has begun already.
    '25P02',
    '25001',
    'ER_CANT_CHANGE_TX_CHARACTERISTICS',
    // After `LOCK TABLES`, and in a distributed transaction.
    'ER_TABLE_NOT_LOCKED*',
    'ER_XAER_*',
  ],
  readonly: [ON_REPLICA, '25006', 'ER_OPTION_PREVENTS_STATEMENT', 'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION'],
  lost: [
    'ECONNRESET',
    'EPIPE',
    // PostgreSQL: connection exceptions, shutdown of the server.
    '08*',
    '57P01',
    '57P02',
    'PROTOCOL_CONNECTION_LOST',
    'ER_CONNECTION_KILLED',
    'ER_SERVER_SHUTDOWN',
    // A node of Galera that is not part of the cluster at the moment. Other nodes may serve.
    'ER_UNKNOWN_COM_ERROR',
  ],
  outage: [
    'ECONNREFUSED',
    'ETIMEDOUT',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ENOTFOUND',
    'EAI_AGAIN',
    // PostgreSQL: insufficient resources, a cancelled statement, a server that is starting.
    '53*',
    '57014',
    '57P03',
    'ER_CON_COUNT_ERROR',
    'ER_TOO_MANY_USER_CONNECTIONS',
    'ER_USER_LIMIT_REACHED',
    'SQLITE_IOERR*',
    'SQLITE_FULL',
    'SQLITE_READONLY*',
    'SQLITE_CANTOPEN*',
  ],
  missing: ['42P01', '3F000', 'ER_NO_SUCH_TABLE'],
  unusable: [
    '42703',
    '42501',
    'ER_BAD_FIELD_ERROR',
    'ER_DBACCESS_DENIED_ERROR',
    'ER_TABLEACCESS_DENIED_ERROR',
    'ER_COLUMNACCESS_DENIED_ERROR',
  ],
};

/** A statement ran inside a transaction that the application left open on a connection of the pool. */
export class LeftInTransactionError extends Error {
  readonly code = LEFT_IN_TRANSACTION;
}

/** A connection leads to a replica. */
export class ReplicaError extends Error {
  readonly code = ON_REPLICA;

  constructor() {
    super('the connection leads to a replica, which may lag behind the primary');
  }
}

/** Messages of errors without a code: from `pg` if a connection ended, from `mysql2` if it had closed the connection. */
const LOST_WITHOUT_CODE =
  /^Connection terminated|^Client has encountered a connection error|^Client was closed|connection is in closed state/;

const PATTERNS = Object.entries(CODES).map(([kind, codes]) => {
  const alternatives = codes.map((code) => code.replaceAll('*', '.*')).join('|');
  return [kind as DriverErrorKind, new RegExp(`^(?:${alternatives})$`)] as const;
});

/** What an operator can do about an error whose message does not say it. */
const HINTS: readonly (readonly [code: RegExp, hint: string])[] = [
  [/^SQLITE_READONLY/, 'Give the process write access to the database file and its directory'],
  [/^SQLITE_FULL$/, 'Free space on the disk of the database file'],
  [/^SQLITE_CANTOPEN/, 'Give the process read access to the database file, and write access to its directory'],
  [/^(?:42P01|42703|ER_NO_SUCH_TABLE|ER_BAD_FIELD_ERROR)$/, 'Run the migrations'],
  [
    /^(?:53300|ER_CON_COUNT_ERROR|ER_TOO_MANY_USER_CONNECTIONS)$/,
    'Allow more connections on the server, or fewer in the pool',
  ],
];

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}

/** Returns the kind of an error, judged by its code, or by its message if it has none. */
export function classifyDriverError(error: unknown): DriverErrorKind {
  const code = codeOf(error);
  const match = PATTERNS.find(([, pattern]) => pattern.test(code));
  if (match) return match[0];
  return error instanceof Error && LOST_WITHOUT_CODE.test(error.message) ? 'lost' : 'other';
}

/** Returns advice for an operator, if there is any beyond the error's own message. */
export const hintFor = (error: unknown): string | undefined => HINTS.find(([code]) => code.test(codeOf(error)))?.[1];
