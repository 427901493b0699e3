import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const read = (path: string) => readFileSync(new URL(`../${path}`, import.meta.url), 'utf8');

/** The text that `bench/charts` writes into the charts. */
const fingerprintOf = (file: string) =>
  createHash('sha256')
    .update(JSON.stringify(JSON.parse(read(`bench/results/${file}`))))
    .digest('hex')
    .slice(0, 16);

describe('The charts of the benchmark', () => {
  const charts = readdirSync(new URL('../docs/images/', import.meta.url)).filter((name) => name.endsWith('.svg'));
  const guide = read('docs/performance.md');

  it('are the ones that docs/performance.md shows', () => {
    const shown = [...guide.matchAll(/!\[[^\]]{30,}\]\(images\/(.+\.svg)\)/g)].map(([, name]) => name!);
    expect(new Set(shown)).toEqual(new Set(charts));
    expect(charts.length).toBeGreaterThan(5);
  });

  // If this fails after the results changed, run: npm run charts.
  it.each(charts)('%s shows the current results, with a text alternative, in light and dark mode', (name) => {
    const svg = read(`docs/images/${name}`);
    const [, file, fingerprint] = / data-results="(\w+\.json):(\w+)"/.exec(svg)!;
    expect(fingerprint).toBe(fingerprintOf(file!));
    expect(svg).toMatch(/<title id="title">.{20,}<\/title>\s*<desc id="desc">.{20,}<\/desc>/);
    expect(svg).toContain('@media (prefers-color-scheme:dark)');
    expect(svg).not.toMatch(/NaN|undefined|\b(?:fill|stroke)="#/);
  });
});
