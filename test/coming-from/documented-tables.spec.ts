import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { documentedRows } from '../fixtures/documented-rows.js';

describe('docs/coming-from.md', () => {
  const slug = (heading: string) => heading.toLowerCase().replaceAll(' ', '-');

  it('has six tables', () => {
    expect(Object.keys(documentedRows())).toHaveLength(6);
  });

  it.each(Object.keys(documentedRows()))('has a spec file for the table below the heading "%s"', (heading) => {
    expect(existsSync(new URL(`${slug(heading)}.spec.ts`, import.meta.url))).toBe(true);
  });
});
