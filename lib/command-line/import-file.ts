import { constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal, pipeline } from 'node:stream';
import { CsvError, parse } from 'csv-parse';
import { describeError } from '../errors/describe-error.js';
import type { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { ImportedToken } from '../tokens/token.interfaces.js';

type Cells = Partial<Record<keyof ImportedToken, string>>;

/** The columns that a file may have, in any order. */
const COLUMNS: readonly (keyof ImportedToken)[] = [
  'userId',
  'key',
  'digest',
  'created',
  'lifespan',
  'name',
  'lastUsedAt',
];

/** What came of an import. */
export interface Imported {
  imported: number;
  /** Those that were there already. */
  skipped: number;
}

/** What is wrong with a file: tells the line, and never a value, which may be a token. */
class FileError extends Error {
  constructor(path: string, line: number, problem: string, read: number) {
    // Not all of them: what is no CSV is noticed while some are still to be imported.
    const rest = read > 0 ? '. Lines before it were imported: mend it, and run the import again' : '';
    super(`${path}, line ${line}: ${problem}${rest}`);
  }
}

/**
 * Imports the tokens of a CSV file (RFC 4180), whose first line names the columns. It is never in memory as a whole.
 *
 * @param onProgress - is told of each token how many were read, and how much of the file, from 0 to 1
 * @param signal - ends it before the next token, also while none comes
 */
export async function importFile(
  tokens: ExpiringTokenService,
  path: string,
  onProgress: (read: number, share: number) => void,
  signal: AbortSignal,
): Promise<Imported> {
  const stats = await stat(path);
  const file = stats.isFIFO() ? readPipe(path) : createReadStream(path);
  let header: string[] | undefined;
  const columns = (names: string[]) => (header = checkHeader(names));
  const parser = addAbortSignal(signal, parse({ info: true, skip_empty_lines: true, columns }));
  // Its failure is that of the loop.
  pipeline(file, textOf, parser, () => undefined);
  let read = 0;
  let line = 1;
  const rows = async function* (): AsyncGenerator<ImportedToken> {
    try {
      for await (const { record, info } of parser as AsyncIterable<{ record: Cells; info: { lines: number } }>) {
        line = info.lines;
        yield tokenOf(record);
        onProgress(++read, stats.size > 0 ? Math.min(file.bytesRead / stats.size, 1) : 1);
      }
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    if (!header) throw new TypeError('there is no header: name the columns in it, as in userId,key,created');
  };
  try {
    const imported = await tokens.import(rows());
    return { imported, skipped: read - imported };
  } catch (error) {
    if (error instanceof CsvError) {
      // What follows the colon quotes the file.
      throw new FileError(path, error.lines as number, error.message.replace(/:.*/s, ''), read);
    }
    throw error instanceof TypeError
      ? new FileError(path, line, describeError(error).replace(/^tokens\[\d+\]: /, ''), read)
      : error;
  }
}

/** A name that is not UTF-8 would be another one. */
async function* textOf(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    throw error instanceof TypeError ? new TypeError('what follows is not UTF-8') : error;
  }
}

/** Reads a pipe as a socket: a thread that waits for its writer, as for a file, would hold up the end of the process. */
const readPipe = (path: string): Socket =>
  new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), writable: false });

/** The names of the columns. The first line may be no header but a token: it is not quoted. */
function checkHeader(header: string[]): string[] {
  const stray = header.findIndex((name) => !(COLUMNS as readonly string[]).includes(name));
  if (stray !== -1) {
    throw new TypeError(`column ${stray + 1} has another name than ${COLUMNS.join(', ')}`);
  }
  const missing = ['userId', 'created'].find((name) => !header.includes(name));
  if (missing) throw new TypeError(`there is no column ${missing}`);
  const twice = header.find((name, column) => header.indexOf(name) !== column);
  if (twice) throw new TypeError(`there is more than one column ${twice}: leave one of them`);
  return header;
}

/** An empty cell is left out. */
function tokenOf(cells: Cells): ImportedToken {
  const {
    userId = '',
    created = '',
    lastUsedAt,
    lifespan,
    ...rest
  } = Object.fromEntries(Object.entries(cells).filter(([, cell]) => cell !== '')) as Cells;
  return {
    ...rest,
    userId,
    created: parseInstant('created', created),
    ...(lastUsedAt && { lastUsedAt: parseInstant('lastUsedAt', lastUsedAt) }),
    ...(lifespan && { lifespan: lifespan === 'never' ? null : lifespan }),
  };
}

const INSTANT = /^(\d{4}-\d\d-(\d\d))[T ](\d\d:\d\d:\d\d(?:\.\d+)?) ?(?:Z|([+-]\d\d):?(\d\d)?)?$/;

/** A time as ISO 8601 or a database writes it: in UTC, unless it says another offset. */
function parseInstant(field: string, text: string): Date {
  const [, date, day, time, hours = '+00', minutes = '00'] = INSTANT.exec(text) ?? [];
  const instant = new Date(`${date}T${time}${hours}:${minutes}`);
  // Node takes the 30th of February for the 2nd of March.
  if (Number.isNaN(instant.getTime()) || new Date(`${date}T00:00Z`).getUTCDate() !== Number(day)) {
    throw new TypeError(`${field} must be a time such as 2026-01-31T12:00:00Z, in UTC if it says nothing else`);
  }
  return instant;
}
