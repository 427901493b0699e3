import { CLAIMS, isMet } from '../report/claims.js';
import type { Results } from '../report/results.js';
import { COLORS } from './colors.js';
import { type Chart, type Layers, line, type TextStyle } from './draw.js';

const LETTERS = { express: 'E', fastify: 'F' } as const;

/** Vertical distance between two claims, and the offsets of the two adapters within one claim; in pixels. */
const STEP = 40;
const OFFSETS = { express: -8, fastify: 8, alone: 0 } as const;

/** The label of a claim, broken into two lines if it is long. */
function nameOf(title: string): string {
  const short = title.replaceAll('`', '').replace(/^ours,? /, '');
  if (short.length <= 44) return short;
  const at = short.lastIndexOf(' ', 44);
  return `${short.slice(0, at)}\n${short.slice(at + 1)}`;
}

/** Shows each measurement relative to its target. */
export function claimsChart(results: Results): Chart {
  const titles = [...new Set(CLAIMS.map(({ title }) => title))];
  const rows = CLAIMS.flatMap((claim) => {
    const measured = claim.measure(results);
    if (measured === undefined) return [];
    const { title, adapter, bound, unit } = claim;
    const isLowerBound = 'atLeast' in bound;
    const target = isLowerBound ? bound.atLeast : bound.atMost;
    const hasBothAdapters = CLAIMS.filter((other) => other.title === title).length > 1;
    const figure = unit ? `${measured.toFixed(1)} ${unit}` : measured.toFixed(2);
    return [
      {
        at: titles.indexOf(title) * STEP + STEP / 2 + OFFSETS[hasBothAdapters ? adapter! : 'alone'],
        letter: adapter ? LETTERS[adapter] : '',
        factor: isLowerBound ? measured / target : target / measured,
        target: `${isLowerBound ? '≥' : '≤'} ${target}${unit ? ` ${unit}` : ''}`,
        figure,
        color: isMet(claim, measured) ? COLORS.ours : COLORS.missed,
        words: `${title}${adapter ? `, ${adapter}` : ''}: ${figure}, target ${isLowerBound ? 'at least' : 'at most'} ${target}`,
      },
    ];
  });
  const metCount = rows.filter(({ color }) => color === COLORS.ours).length;
  const [width, height] = [300, titles.length * STEP];
  const y = {
    field: 'at',
    type: 'quantitative' as const,
    scale: { domain: [0, height], reverse: true, nice: false },
    axis: null,
  };
  const x = { type: 'quantitative' as const, scale: { type: 'log' as const, domain: [0.08, 16], nice: false } };
  const color = { field: 'color', scale: null };
  const column = (field: string, at: number, style: TextStyle): Layers[number] => ({
    mark: { type: 'text', align: 'right', x: at, ...style },
    encoding: { y, text: { field } },
  });
  return {
    name: 'claims',
    title: `Targets and results: ${metCount} of ${rows.length} targets are met`,
    subtitle:
      'How many times better than the target; results left of the line miss it. E: Express, F: Fastify. Logarithmic.',
    description: rows.map(({ words }) => words).join('; '),
    size: { width, height },
    margin: { left: 350, right: 190 },
    rows,
    layers: [
      {
        mark: { type: 'rule', strokeWidth: 3, opacity: 0.5 },
        encoding: {
          y,
          x: {
            ...x,
            field: 'factor',
            axis: { title: null, values: [0.1, 0.3, 1, 3, 10], labelExpr: "'× ' + datum.label" },
          },
          x2: { datum: 1 },
          color,
        },
      },
      {
        data: { values: [{}] },
        mark: { type: 'rule', strokeWidth: 1.5, color: COLORS.ink },
        encoding: { x: { ...x, datum: 1 } },
      },
      {
        mark: { type: 'point', filled: true, size: 200, opacity: 1 },
        encoding: { y, x: { ...x, field: 'factor' }, color },
      },
      {
        mark: { type: 'text', fontSize: 10, fontWeight: 700, color: COLORS.paper },
        encoding: { y, x: { ...x, field: 'factor' }, text: { field: 'letter' } },
      },
      column('figure', width + 80, { fontWeight: 600 }),
      column('target', width + 165, { color: COLORS.quiet }),
      line('measured', width + 80, -12, { align: 'right', fontSize: 12 }),
      line('target', width + 165, -12, { align: 'right', fontSize: 12, color: COLORS.quiet }),
      ...titles.map((title, index) => name(nameOf(title), index * STEP + STEP / 2)),
    ],
  };
}

/** A label of one or two lines, vertically centered at a height. */
const name = (text: string, at: number): Layers[number] =>
  line(text, -330, at - (text.includes('\n') ? 8 : 0), { lineBreak: '\n', lineHeight: 16 });
