/** Tries of one write: the first and two more. */
const ATTEMPTS = 3;

/** Two rows want the same unique key. */
const UNIQUE_VIOLATIONS = new Set([
  '23505',
  'ER_DUP_ENTRY',
  'SQLITE_CONSTRAINT_PRIMARYKEY',
  'SQLITE_CONSTRAINT_UNIQUE',
]);

/** Two transactions wanted each other's rows, and the server chose this one to try again. */
const CONFLICTS = new Set(['40001', '40P01', 'ER_LOCK_DEADLOCK', 'ER_LOCK_WAIT_TIMEOUT']);

/** PostgreSQL: a value that is no value of the column's type, or out of its range. */
const NO_SUCH_VALUES = new Set(['22P02', '22003']);

const codeOf = (error: unknown) => String((error as { code?: unknown } | null)?.code);

/** Whether a write failed because a row with the same unique key is there already. */
export const isUniqueViolation = (error: unknown): boolean => UNIQUE_VIOLATIONS.has(codeOf(error));

/** Whether a row was sought by a value that its column cannot hold: there is none, as other databases answer. */
export const isNoSuchValue = (error: unknown): boolean => NO_SUCH_VALUES.has(codeOf(error));

/** Whether a transaction was the one of two that the server gave up. */
export const isConflict = (error: unknown): boolean => CONFLICTS.has(codeOf(error));

/** SQLite: whether another process writes. */
export const isBusy = (error: unknown): boolean => codeOf(error).startsWith('SQLITE_BUSY');

/** Does a write again after a failure of a kind that another try can get over. */
export async function retrying<T>(work: () => Promise<T>, canRetry: (error: unknown) => boolean): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work();
    } catch (error) {
      if (!canRetry(error) || attempt === ATTEMPTS) throw error;
    }
  }
}
