/**
 * Computes the size of the tables, the statements per second and the CPU time for a number of users. Run it with
 * `npm run bench:load-model`. It measures nothing: `npm run bench:costs` does.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import type { AllCosts } from './costs.js';
import { withFigures } from './guide.js';
import { readInputs, USAGE } from './inputs.js';
import { growthTables } from './tables.js';

const pathOf = (path: string) => fileURLToPath(new URL(`../../../${path}`, import.meta.url));
const GUIDE = pathOf('docs/ten-million-users.md');

const costs = JSON.parse(readFileSync(pathOf('bench/load-model/costs.json'), 'utf8')) as AllCosts;
const args = process.argv.slice(2);
const formatted = (text: string) => format(text, { singleQuote: true, printWidth: 120, filepath: GUIDE });

try {
  if (args[0] === '--write-guide') {
    writeFileSync(GUIDE, await formatted(withFigures(readFileSync(GUIDE, 'utf8'), costs)));
  } else {
    const inputs = readInputs(args);
    process.stdout.write(inputs ? await formatted(growthTables(inputs, costs)) : USAGE);
  }
} catch (error) {
  process.exitCode = 1;
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
}
