import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { SPECS } from '../vitest.config.js';

describe('vitest.config.ts', () => {
  it.each(Object.entries(SPECS).flatMap(([project, names]) => names.map((name) => [name, project] as const)))(
    'names a spec that exists: %s, in project %s',
    (name) => {
      expect(existsSync(new URL(`${name}.spec.ts`, import.meta.url))).toBe(true);
    },
  );
});
