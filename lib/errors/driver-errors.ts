/**
 * What a driver's error says of what was asked:
 *
 * - `duplicate`: two rows want the same unique key
 * - `value`: what was asked for is no value of the column's type, or out of its range
 * - `comparison`: columns of these types or collations cannot be compared
 * - `conflict`: it was the one of two that the server gave up; done again, it succeeds
 * - `lost`: the connection is gone, or leads to a server that takes no writes any more; another one may do
 * - `outage`: the database cannot be asked now, whatever is asked
 * - `other`: what nobody foresaw
 */
export type DriverErrorKind = 'duplicate' | 'value' | 'comparison' | 'conflict' | 'lost' | 'outage' | 'other';

/** By the driver's code; those that end in `*` are the start of one. */
const CODES: Record<Exclude<DriverErrorKind, 'other'>, readonly string[]> = {
  duplicate: ['23505', 'ER_DUP_ENTRY', 'SQLITE_CONSTRAINT_PRIMARYKEY', 'SQLITE_CONSTRAINT_UNIQUE'],
  value: [
    '22001',
    '22003',
    '22021',
    '22P02',
    'ER_DATA_TOO_LONG',
    'ER_TRUNCATED_WRONG_VALUE*',
    'ER_WARN_DATA_OUT_OF_RANGE',
    'ER_INVALID_CHARACTER_STRING',
    'ER_CANT_AGGREGATE_*COLLATIONS',
    'SQLITE_TOOBIG',
    'SQLITE_MISMATCH',
  ],
  comparison: ['42804', '42883', '42P22'],
  conflict: [
    '40001',
    '40P01',
    // PostgreSQL: a prepared statement that something between took away, or gave to another, or that the table outgrew.
    '0A000',
    '26000',
    '42P05',
    'ER_LOCK_DEADLOCK',
    'ER_LOCK_WAIT_TIMEOUT',
    'SQLITE_BUSY*',
    'SQLITE_LOCKED*',
  ],
  lost: [
    'ECONNRESET',
    'EPIPE',
    // PostgreSQL: connection exceptions, shutdown of the server, and a primary that became a replica.
    '08*',
    '57P01',
    '57P02',
    '25006',
    'PROTOCOL_CONNECTION_LOST',
    'ER_CONNECTION_KILLED',
    'ER_SERVER_SHUTDOWN',
    'ER_OPTION_PREVENTS_STATEMENT',
  ],
  outage: [
    'ECONNREFUSED',
    'ETIMEDOUT',
    'EHOSTUNREACH',
    'ENETUNREACH',
    'ENOTFOUND',
    'EAI_AGAIN',
    // PostgreSQL: insufficient resources, a statement cancelled, a server that starts.
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
};

/** Errors that drivers give no code: `pg` of a connection that ended, `mysql2` of one that it had closed. */
const LOST_WITHOUT_CODE =
  /^Connection terminated|^Client has encountered a connection error|^Client was closed|connection is in closed state/;

const PATTERNS = Object.entries(CODES).map(([failure, codes]) => {
  const alternatives = codes.map((code) => code.replaceAll('*', '.*')).join('|');
  return [failure as DriverErrorKind, new RegExp(`^(?:${alternatives})$`)] as const;
});

/** What to do where the error itself does not say. */
const HINTS: readonly (readonly [code: RegExp, remedy: string])[] = [
  [/^SQLITE_READONLY/, 'Let the process write the database file and its directory'],
  [/^SQLITE_FULL$/, 'Make room on the disk of the database file'],
  [/^SQLITE_CANTOPEN/, 'Let the process open the database file, and write its directory'],
  [/^(?:42P01|42703|ER_NO_SUCH_TABLE|ER_BAD_FIELD_ERROR)$/, 'Run the migrations'],
  [
    /^(?:53300|ER_CON_COUNT_ERROR|ER_TOO_MANY_USER_CONNECTIONS)$/,
    'Allow the server more connections, or the pool fewer',
  ],
];

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
}

/** What kind of failure an error is. */
export function classifyDriverError(error: unknown): DriverErrorKind {
  const code = codeOf(error);
  const known = PATTERNS.find(([, pattern]) => pattern.test(code));
  if (known) return known[0];
  return error instanceof Error && LOST_WITHOUT_CODE.test(error.message) ? 'lost' : 'other';
}

/** What to do about an error, if there is something that it does not say itself. */
export const hintFor = (error: unknown): string | undefined => HINTS.find(([code]) => code.test(codeOf(error)))?.[1];
