import { constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal } from 'node:stream';
import { describeError } from '../errors/describe-error.js';
import type { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { ImportedToken } from '../tokens/token.interfaces.js';
import { parseCells, readRecords } from './csv-records.js';

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
  'scopes',
  'abilities',
];

/** The result of an import. */
export interface Imported {
  imported: number;
  /** Tokens that had been imported before. */
  skipped: number;
}

/** Names the line of a file that is wrong, and never a value of it, which may be a token. */
class FileError extends Error {
  constructor(path: string, line: number, problem: string, read: number) {
    const rest = read > 0 ? '. Lines before it were imported: correct it, and run the import again' : '';
    super(`${path}, line ${line}: ${problem}${rest}`);
  }
}

/**
 * Imports the tokens of a CSV file (RFC 4180), whose first line names the columns. The file is never in memory as a whole.
 *
 * @param onProgress - called for each token with the number of tokens read, and the share of the file read, from 0 to 1
 * @param signal - ends the import before the next token, also while it waits for one
 */
export async function importFile(
  tokens: ExpiringTokenService,
  path: string,
  onProgress: (read: number, share: number) => void,
  signal: AbortSignal,
): Promise<Imported> {
  const stats = await stat(path);
  const file = addAbortSignal(signal, stats.isFIFO() ? readPipe(path) : createReadStream(path));
  let read = 0;
  let line = 1;
  const rows = async function* (): AsyncGenerator<ImportedToken> {
    let header: string[] | undefined;
    try {
      for await (const record of readRecords(decodeUtf8(file))) {
        line = record.line;
        const cells = parseCells(record.text);
        if (header) {
          yield tokenOf(header, cells);
          onProgress(++read, stats.size > 0 ? Math.min(file.bytesRead / stats.size, 1) : 1);
        } else header = checkHeader(cells);
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
    throw error instanceof TypeError
      ? new FileError(path, line, describeError(error).replace(/^tokens\[\d+\]: /, ''), read)
      : error;
  }
}

/** Text that is not UTF-8 is rejected: replacement characters would change names and ids. */
async function* decodeUtf8(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  try {
    for await (const chunk of chunks) yield decoder.decode(chunk, { stream: true });
    yield decoder.decode();
  } catch (error) {
    throw error instanceof TypeError ? new TypeError('what follows is not UTF-8') : error;
  }
}

/** Reads a pipe as a socket: read as a file, a thread would wait for the writer and block the exit of the process. */
const readPipe = (path: string): Socket =>
  new Socket({ fd: openSync(path, constants.O_RDONLY | constants.O_NONBLOCK), writable: false });

/** Checks the names of the columns. Errors do not quote them: without a header, the first line is a token. */
function checkHeader(header: string[]): string[] {
  const unknown = header.findIndex((name) => !(COLUMNS as readonly string[]).includes(name));
  if (unknown !== -1) {
    throw new TypeError(`column ${unknown + 1} has another name than ${COLUMNS.join(', ')}`);
  }
  const missing = ['userId', 'created'].find((name) => !header.includes(name));
  if (missing) throw new TypeError(`there is no column ${missing}`);
  const duplicate = header.find((name, column) => header.indexOf(name) !== column);
  if (duplicate) throw new TypeError(`there is more than one column ${duplicate}: keep one of them`);
  return header;
}

/** The token of a record. An empty cell counts as absent, but an empty list of scopes allows nothing: it must not allow everything. */
function tokenOf(header: readonly string[], cells: readonly string[]): ImportedToken {
  if (cells.length !== header.length) {
    throw new TypeError(`there are ${cells.length} cells, and ${header.length} columns in the header`);
  }
  const {
    userId = '',
    created = '',
    lastUsedAt,
    lifespan,
    scopes,
    abilities,
    ...rest
  } = Object.fromEntries(header.map((name, column) => [name, cells[column] || undefined])) as Cells;
  return {
    ...rest,
    userId,
    created: parseInstant('created', created),
    ...(lastUsedAt && { lastUsedAt: parseInstant('lastUsedAt', lastUsedAt) }),
    ...(lifespan && { lifespan: lifespan === 'never' ? null : lifespan }),
    ...(header.includes('scopes') && { scopes: scopes?.split(' ') ?? [] }),
    ...(header.includes('abilities') && { abilities: abilities ?? null }),
  };
}

const INSTANT = /^(\d{4}-\d\d-(\d\d))[T ](\d\d:\d\d:\d\d(?:\.\d+)?) ?(?:Z|([+-]\d\d):?(\d\d)?)?$/;

/** Parses a time in the format of ISO 8601 or of a database. It is in UTC unless it has an offset. */
function parseInstant(field: string, text: string): Date {
  const [, date, day, time, hours = '+00', minutes = '00'] = INSTANT.exec(text) ?? [];
  const instant = new Date(`${date}T${time}${hours}:${minutes}`);
  // Node reads the 30th of February as the 2nd of March.
  if (Number.isNaN(instant.getTime()) || new Date(`${date}T00:00Z`).getUTCDate() !== Number(day)) {
    throw new TypeError(`${field} must be a time such as 2026-01-31T12:00:00Z; without an offset it is in UTC`);
  }
  return instant;
}
