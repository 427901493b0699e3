import { readdirSync, readFileSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');

/** Expressions that a reader whose first language is not English stumbles over, each with what to write in its place. */
const PUZZLING: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/\btold\b/i, '"given", "logged", "emitted", or the noun'],
  [/\blet(?:s|ting)? (?:\w+ )?in\b/i, '"accept", "authenticate"'],
  [/\bwhatever is (?:no|not)\b/i, '"a value that is not"'],
  [/\bwho is (?:refused|told|let)\b/i, '"a rejected client"'],
  [/\banew\b/i, '"again"'],
  [/\bmend(?:s|ed|ing)?\b/i, '"fix"'],
  [/, say(?=[,.;:)])/i, '"for example"'],
  [/\bit is to\b/i, '"it must"'],
  [/\bthere is such\b/i, '"there is one"'],
  [/\bat once\b/i, '"immediately" or "simultaneously"'],
  [/\bso does it this\b/i, 'a sentence with subject, verb and object'],
];

const filesIn = (directory: string, pattern: RegExp): string[] =>
  readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && pattern.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));

/** The lines of a text that match, by their numbers. */
const linesWith = (text: string, pattern: RegExp): number[] =>
  text.split('\n').flatMap((line, index) => (pattern.test(line) ? [index + 1] : []));

/** Titles of tests and suites, each in its line; all other lines are empty. */
const titlesOf = (source: string): string =>
  source
    .split('\n')
    .map((line) => /\b(?:it|test|describe)\b[^'`]*(['`])(.*?)\1/.exec(line)?.[2] ?? '')
    .join('\n');

const PROSE = [
  ...filesIn('lib', /\.ts$/),
  ...filesIn('sample-app', /\.(?:ts|js|html)$/),
  ...filesIn('examples', /\.(?:ts|js|html)$/),
  ...filesIn('docs', /\.md$/),
  ...filesIn('.ci', /^run$|\.mjs$/),
  ...readdirSync(ROOT).filter((file) => file.endsWith('.md')),
].map((file) => [file, readFileSync(join(ROOT, file), 'utf8')] as const);

const TITLES = filesIn('test', /\.spec\.ts$/)
  // This file names the expressions.
  .filter((file) => !file.endsWith('language.spec.ts'))
  .map((file) => [file, titlesOf(readFileSync(join(ROOT, file), 'utf8'))] as const);

describe('Plain English', () => {
  it.each(PUZZLING)('code, documents and test titles do without %s: write %s', (pattern) => {
    const found = [...PROSE, ...TITLES].flatMap(([file, text]) =>
      linesWith(text, pattern).map((line) => `${file}:${line}`),
    );
    expect(found).toEqual([]);
  });

  it('is checked in every kind of file', () => {
    const files = [...PROSE, ...TITLES].map(([file]) => file);
    for (const file of ['lib/index.ts', 'README.md', 'docs/users.md', 'test/guard.spec.ts'])
      expect(files).toContain(file);
    expect(titlesOf("  it('is told once', () => {")).toBe('is told once');
    expect(linesWith('one\nIt is told\n', PUZZLING[0]![0])).toEqual([2]);
  });
});
