import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const text = readFileSync(new URL('../docs/reliability.md', import.meta.url), 'utf8');

/** The tests that the document names, as `file`: title. */
const named = [...text.matchAll(/`([\w/-]+\.spec\.ts)`: (.+?)(?= *<br>| *\||\)\.|$)/gm)].map(([, file, title]) => ({
  file: file!,
  title: title!.replaceAll('\\|', '|').trim(),
}));

describe('docs/reliability.md', () => {
  const cells = (row: string) => row.split(/(?<!\\)\|/).slice(1, -1);
  const rows = text.match(/^\|.*$/gm)!.map(cells);

  it('names a test for each requirement, and for each fault that it speaks of', () => {
    const shown = rows
      .filter(([first, second]) => second?.includes('.spec.ts') && first)
      .map(([first]) => first!.trim());
    const faults = new Set(text.match(/\bF\d+\b/g));
    expect(shown).toEqual(expect.arrayContaining([...faults]));
    const requirements = text.split('\n## Requirements\n')[1]!.match(/^\| (?!What must hold|-).*$/gm)!;
    expect(requirements.length).toBeGreaterThan(70);
    for (const row of requirements) expect(cells(row)[2]).toContain('.spec.ts`: ');
  });

  it.each(named)('names a test that is there: $file, $title', ({ file, title }) => {
    const path = new URL(file, import.meta.url);
    expect(existsSync(path)).toBe(true);
    // As a string of the source has it.
    const source = readFileSync(path, 'utf8').replaceAll("\\'", "'");
    expect(source).toContain(title);
  });
});
