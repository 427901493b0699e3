import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Results } from '../report/results.js';
import { claimsChart } from './claims.js';
import { type Chart, draw } from './draw.js';
import { revocationChart } from './revocation.js';
import { scaleCharts } from './scale.js';
import { stormChart } from './storm.js';
import { throughputChart } from './throughput.js';

const pathOf = (name: string) => fileURLToPath(new URL(`../../../${name}`, import.meta.url));

function chartsOf({ throughput, revocation, storm, ...rest }: Results): Chart[] {
  const charts = [
    claimsChart({ throughput, revocation, storm, ...rest }),
    throughput && throughputChart(throughput, 'express'),
    throughput && throughputChart(throughput, 'fastify'),
    revocation && revocationChart(revocation),
    storm && stormChart(storm),
  ];
  return charts.filter((chart) => chart !== undefined);
}

/** Draws the charts of one results file. */
async function writeAll<T>(file: string, charts: (results: T) => Chart[]): Promise<void> {
  const results = JSON.parse(readFileSync(pathOf(`bench/results/${file}`), 'utf8')) as T;
  const fingerprint = createHash('sha256').update(JSON.stringify(results)).digest('hex').slice(0, 16);
  for (const chart of charts(results)) {
    writeFileSync(pathOf(`docs/images/${chart.name}.svg`), await draw(chart, `${file}:${fingerprint}`));
  }
}

/** Draws the charts of the committed results and writes them to docs/images. */
export async function writeCharts(): Promise<void> {
  mkdirSync(pathOf('docs/images'), { recursive: true });
  await writeAll('results.json', chartsOf);
  await writeAll('scale.json', scaleCharts);
}
