import Papa from 'papaparse';

/** A record of a CSV file, not yet split into cells. */
export interface CsvRecord {
  readonly text: string;
  /** Number of its first line, from 1. */
  readonly line: number;
}

/** A carriage return at the end of a chunk may be the first half of a line end. */
const LINE_END = /\r\n|\n|\r(?!$)/;

const hasOpenQuote = (text: string): boolean => text.split('"').length % 2 === 0;

/** Splits text into lines, without their ends. */
async function* readLines(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = '';
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split(LINE_END);
    rest = lines.pop()!;
    yield* lines;
  }
  yield* rest.split(/\r/);
}

/**
 * Splits the text of a CSV file (RFC 4180) into records, of which only one is in memory. Empty lines are skipped.
 *
 * A line end inside a quoted cell belongs to the record: a record is complete when its number of quotes is even.
 */
export async function* readRecords(chunks: AsyncIterable<string>): AsyncGenerator<CsvRecord> {
  let count = 0;
  let open: CsvRecord | undefined;
  for await (const line of readLines(chunks)) {
    count++;
    const record: CsvRecord = open ? { ...open, text: `${open.text}\n${line}` } : { text: line, line: count };
    // Counted per line: a record of many lines would otherwise be counted again for each of them.
    open = hasOpenQuote(line) === (open === undefined) ? record : undefined;
    if (!open && record.text !== '') yield record;
  }
  if (open) yield open;
}

/**
 * Splits a record into its cells.
 *
 * @throws TypeError if its quotes are wrong, without a value of the record
 */
export function parseCells(text: string): string[] {
  if (hasOpenQuote(text)) throw new TypeError('a quote is opened and not closed');
  const { data, errors } = Papa.parse<string[]>(text, { delimiter: ',', newline: '\n' });
  if (errors.length > 0) throw new TypeError('text follows the closing quote of a cell: write a quote in it as ""');
  // A quote inside an unquoted cell does not quote the line ends after it, so the text is more than one record.
  if (data.length !== 1) throw new TypeError('a cell that contains a quote must be quoted');
  return data[0]!;
}
