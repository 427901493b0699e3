import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const requirements = readFileSync(new URL('requirements.md', import.meta.url), 'utf8');
const guide = readFileSync(new URL('../docs/reliability.md', import.meta.url), 'utf8');

/** The tests that test/requirements.md names, as `file`: title. */
const named = [...requirements.matchAll(/`([\w/-]+\.spec\.ts)`: (.+?)(?= *<br>| *\||\)\.|$)/gm)].map(
  ([, file, title]) => ({
    file: file!,
    title: title!.replaceAll('\\|', '|').trim(),
  }),
);

/** The text of a spec, and of the tests that it imports. */
function sourceOf(path: URL): string {
  const text = readFileSync(path, 'utf8');
  const imported = [...text.matchAll(/from '(\..*\.races)\.js'/g)].map(([, name]) =>
    sourceOf(new URL(`${name}.ts`, path)),
  );
  return [text, ...imported].join('\n');
}

const rowsOf = (text: string) => text.match(/^\|.*$/gm)!.map((row) => row.split(/(?<!\\)\|/).slice(1, -1));

describe('test/requirements.md', () => {
  it('names a test for each fault that it or docs/reliability.md mentions', () => {
    const tested = rowsOf(requirements)
      .filter(([first, second]) => second?.includes('.spec.ts') && first)
      .map(([first]) => first!.trim());
    const mentioned = new Set([requirements, guide].flatMap((text) => text.match(/\bF\d+\b/g)!));
    expect(mentioned.size).toBeGreaterThan(25);
    expect(tested).toEqual(expect.arrayContaining([...mentioned]));
  });

  it('names a test for each requirement', () => {
    const rows = rowsOf(requirements).filter(
      ([requirement = '', , tests]) => tests !== undefined && !/^ (?:Requirement |-)/.test(requirement),
    );
    expect(rows.length).toBeGreaterThan(70);
    for (const [requirement, , tests] of rows) expect(tests, requirement).toContain('.spec.ts`: ');
  });

  it.each(named)('names a test that exists: $file, $title', ({ file, title }) => {
    const path = new URL(file, import.meta.url);
    expect(existsSync(path)).toBe(true);
    // Quotes are escaped in the source.
    const source = sourceOf(path).replaceAll("\\'", "'");
    expect(source).toContain(title);
  });
});
