import { parseArgs } from 'node:util';
import type { Adapter } from './contestants/contestant.js';
import { CONTESTANT_NAMES, type ContestantName } from './contestants/roster.js';
import type { PartName } from './report/results.js';

const PARTS: readonly PartName[] = ['throughput', 'revocation', 'storm'];
const ADAPTERS: readonly Adapter[] = ['express', 'fastify'];

export const USAGE = `npm run bench -- [options]

  --part <names>       any of ${PARTS.join(', ')}; all by default
  --only <names>       any of these contestants: ${CONTESTANT_NAMES.join(', ')}
  --adapter <names>    any of ${ADAPTERS.join(', ')}
  --cycles <number>    number of cycles; 10 by default
  --seconds <number>   duration of each measurement; 4 by default
  --keep               write the results even if only a part was measured
  --quick              short run, as in \`npm run bench:quick\`
  --help               print this text

Separate names with commas. With --only, --adapter, --cycles or --seconds, the results are printed, and written only
with --keep.
`;

export interface CommandLine {
  parts: PartName[];
  only?: ContestantName[];
  adapters: Adapter[];
  cycles?: number;
  seconds?: number;
  quick: boolean;
  help: boolean;
  /** Whether to write the results to bench/results and docs. */
  keep: boolean;
}

/** Parses a comma-separated list of names. */
function namesIn<Name extends string>(
  option: string,
  list: string | undefined,
  known: readonly Name[],
): Name[] | undefined {
  return list?.split(',').map((name) => {
    const found = known.find((candidate) => candidate === name);
    if (!found) throw new Error(`--${option}: unknown name "${name}". Known names: ${known.join(', ')}`);
    return found;
  });
}

function wholeNumber(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(text)) throw new Error(`--${option}: "${text}" must be a whole number above 0`);
  return Number(text);
}

export function readCommandLine(): CommandLine {
  const { values } = parseArgs({
    options: {
      part: { type: 'string' },
      only: { type: 'string' },
      adapter: { type: 'string' },
      cycles: { type: 'string' },
      seconds: { type: 'string' },
      keep: { type: 'boolean', default: false },
      quick: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  const { keep, quick, help, only, adapter, cycles, seconds } = values;
  return {
    parts: namesIn('part', values.part, PARTS) ?? [...PARTS],
    only: namesIn('only', only, CONTESTANT_NAMES),
    adapters: namesIn('adapter', adapter, ADAPTERS) ?? [...ADAPTERS],
    cycles: wholeNumber('cycles', cycles),
    seconds: wholeNumber('seconds', seconds),
    quick,
    help,
    keep: keep || (!quick && !(only ?? adapter ?? cycles ?? seconds)),
  };
}
