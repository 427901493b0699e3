import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { format } from 'prettier';
import type { Results } from './results.js';
import { markdown } from './tables.js';

const pathOf = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));

const RESULTS = pathOf('bench/results/results.json');
const TABLE = pathOf('bench/results/results.md');
const GUIDE = pathOf('docs/performance.md');

const BEGIN = '<!-- results of npm run bench -->';
const END = '<!-- end of results -->';

/** The same options as in .prettierrc.json. */
const STYLE = { singleQuote: true, printWidth: 120 };

export const readResults = (): Results =>
  existsSync(RESULTS) ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as Results) : {};

async function write(path: string, text: string): Promise<void> {
  writeFileSync(path, await format(text, { ...STYLE, filepath: path }));
}

/** Writes the results, their tables, and a copy of the tables into the guide. */
export async function writeResults(results: Results): Promise<void> {
  mkdirSync(pathOf('bench/results'), { recursive: true });
  const text = markdown(results);
  await write(RESULTS, JSON.stringify(results));
  await write(TABLE, `# Results of \`npm run bench\`\n\n${text.replaceAll('\n### ', '\n## ').replace(/^### /, '## ')}`);
  const guide = readFileSync(GUIDE, 'utf8');
  const [head, rest] = guide.split(BEGIN);
  const tail = rest?.split(END)[1];
  if (tail === undefined) throw new Error(`docs/performance.md must contain the markers ${BEGIN} and ${END}`);
  await write(GUIDE, `${head}${BEGIN}\n\n${text}\n\n${END}${tail}`);
}
