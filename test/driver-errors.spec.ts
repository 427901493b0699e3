import { describe, expect, it, vi } from 'vitest';
import { type DriverErrorKind, classifyDriverError } from '../lib/errors/driver-errors.js';
import { retry } from '../lib/async/retry.js';

const driverError = (code: string) => Object.assign(new Error(`the driver says ${code}`), { code });

const CODES: Record<DriverErrorKind, readonly string[]> = {
  duplicate: ['23505', 'ER_DUP_ENTRY', 'SQLITE_CONSTRAINT_PRIMARYKEY', 'SQLITE_CONSTRAINT_UNIQUE'],
  value: [
    '22001',
    '22003',
    '22021',
    '22P02',
    '22P05',
    '22007',
    '22023',
    'ER_DATA_TOO_LONG',
    'ER_TRUNCATED_WRONG_VALUE',
    'ER_TRUNCATED_WRONG_VALUE_FOR_FIELD',
    'ER_CANT_AGGREGATE_2COLLATIONS',
    'ER_CANT_AGGREGATE_NCOLLATIONS',
    'SQLITE_MISMATCH',
  ],
  comparison: ['42804', '42883', '42P22'],
  conflict: ['40001', '40P01', 'ER_LOCK_DEADLOCK', 'SQLITE_BUSY', 'SQLITE_BUSY_SNAPSHOT', 'SQLITE_LOCKED'],
  locked: ['55P03', 'ER_LOCK_WAIT_TIMEOUT'],
  stale: ['0A000', '26000', '42P05'],
  session: [
    '25P02',
    '25001',
    'ER_CANT_CHANGE_TX_CHARACTERISTICS',
    'ER_TABLE_NOT_LOCKED',
    'ER_TABLE_NOT_LOCKED_FOR_WRITE',
    'ER_XAER_RMFAIL',
  ],
  readonly: ['ON_REPLICA', '25006', 'ER_OPTION_PREVENTS_STATEMENT', 'ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION'],
  lost: [
    'ECONNRESET',
    'EPIPE',
    '57P01',
    '08006',
    'PROTOCOL_CONNECTION_LOST',
    'ER_SERVER_SHUTDOWN',
    'ER_UNKNOWN_COM_ERROR',
  ],
  outage: [
    'ECONNREFUSED',
    'ETIMEDOUT',
    '53300',
    'SQLITE_IOERR',
    'SQLITE_IOERR_WRITE',
    'SQLITE_FULL',
    'SQLITE_READONLY',
    'SQLITE_READONLY_DIRECTORY',
  ],
  missing: ['42P01', '3F000', 'ER_NO_SUCH_TABLE'],
  unusable: ['42703', '42501', 'ER_BAD_FIELD_ERROR', 'ER_TABLEACCESS_DENIED_ERROR'],
  // A violation of another constraint is not a taken key, and a message that contains a code is not that code.
  other: ['23503', 'SQLITE_CONSTRAINT_NOTNULL', 'ER_DUP_ENTRY_NOT', '123505', ''],
};

const table = Object.entries(CODES).flatMap(([failure, codes]) => codes.map((code) => [code, failure] as const));

describe("A database driver's error", () => {
  it.each(table)('with the code %o is of the kind %s', (code, failure) => {
    expect(classifyDriverError(driverError(code))).toBe(failure);
  });

  it.each([
    'Connection terminated',
    'Connection terminated unexpectedly',
    'Client has encountered a connection error and is not queryable',
    "Can't add new command when connection is in closed state",
  ])('without a code but with the message %o is a lost connection', (message) => {
    expect(classifyDriverError(new Error(message))).toBe('lost');
  });

  it.each([undefined, null, 'ECONNRESET', 1205, { code: 1205 }, {}, new Error('no code')])(
    'that is not an error of a driver, %o, is of the kind other',
    (error) => expect(classifyDriverError(error)).toBe('other'),
  );
});

describe('Retried work', () => {
  const signal = () => new AbortController().signal;
  const failing = (code: string, times = Infinity) => {
    let failures = 0;
    return vi.fn(async () => {
      if (failures++ < times) throw driverError(code);
      return 'done';
    });
  };

  it.each([...CODES.stale, ...CODES.lost, ...CODES.duplicate])(
    'runs at most three times if it fails with %s each time, and then fails with that error',
    async (code) => {
      const work = failing(code);
      await expect(retry(work, ['stale', 'lost', 'duplicate'], signal())).rejects.toMatchObject({ code });
      expect(work).toHaveBeenCalledTimes(3);
    },
  );

  it('runs more often after a conflict, because it may lose against the other nodes of a cluster again', async () => {
    const work = failing('40001', 10);
    await expect(retry(work, ['conflict'], signal())).resolves.toBe('done');
    expect(work).toHaveBeenCalledTimes(11);
  });

  it('runs until nobody waits for the result, if another transaction holds a lock', async () => {
    const controller = new AbortController();
    const work = vi.fn(async () => {
      if (work.mock.calls.length === 10) controller.abort();
      throw driverError('55P03');
    });
    await expect(retry(work, ['locked'], controller.signal)).rejects.toMatchObject({ name: 'AbortError' });
    expect(work).toHaveBeenCalledTimes(10);
  });

  it.each([1, 2])('runs once more after each of %i failures, and not again after it succeeded', async (failures) => {
    const work = failing('40001', failures);
    await expect(retry(work, ['conflict'], signal())).resolves.toBe('done');
    expect(work).toHaveBeenCalledTimes(failures + 1);
  });

  it('fails immediately after an error of a kind that is not retried', async () => {
    for (const [code, failure] of table) {
      const work = failing(code);
      const others = (Object.keys(CODES) as DriverErrorKind[]).filter((kind) => kind !== failure);
      await expect(retry(work, others, signal()), code).rejects.toMatchObject({ code });
      expect(work, code).toHaveBeenCalledTimes(1);
    }
  });

  it('is not retried if nobody waits for the result any more', async () => {
    const controller = new AbortController();
    const work = vi.fn(async () => {
      controller.abort();
      throw driverError('40001');
    });
    await expect(retry(work, ['conflict'], controller.signal)).rejects.toThrow();
    expect(work).toHaveBeenCalledTimes(1);
  });
});
