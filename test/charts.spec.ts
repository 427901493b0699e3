import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** As `bench/charts` writes it into what it draws. */
const fingerprintOf = (file: string) =>
  createHash('sha256')
    .update(JSON.stringify(JSON.parse(read(`bench/results/${file}`))))
    .digest('hex')
    .slice(0, 16);

describe('The charts of the benchmark', () => {
  const charts = readdirSync(new URL('../docs/images/', import.meta.url)).filter((name) => name.endsWith('.svg'));
  const guide = read('docs/performance.md');

  it('are those that docs/performance.md shows', () => {
    const shown = [...guide.matchAll(/!\[[^\]]{30,}\]\(images\/(.+\.svg)\)/g)].map(([, name]) => name!);
    expect(new Set(shown)).toEqual(new Set(charts));
    expect(charts.length).toBeGreaterThan(5);
  });

  // After a change of the results: npm run charts.
  it.each(charts)('%s shows the results that are kept, with words for it, in light and in dark', (name) => {
    const svg = read(`docs/images/${name}`);
    const [, file, fingerprint] = / data-results="(\w+\.json):(\w+)"/.exec(svg)!;
    expect(fingerprint).toBe(fingerprintOf(file!));
    expect(svg).toMatch(/<title id="title">.{20,}<\/title>\s*<desc id="desc">.{20,}<\/desc>/);
    expect(svg).toContain('@media (prefers-color-scheme:dark)');
    expect(svg).not.toMatch(/NaN|undefined|\b(?:fill|stroke)="#/);
  });
});
