import { parse, View } from 'vega';
import { compile, type Config, type TopLevelSpec } from 'vega-lite';
import { COLORS, STYLE } from './colors.js';

/** What is drawn above the other. */
export type Layers = Extract<TopLevelSpec, { layer: unknown }>['layer'];

/** What a reader sees at a glance, and what one hears who cannot see it. */
export interface Chart {
  /** Of the file, without its ending. */
  name: string;
  title: string;
  subtitle: string;
  /** The figures, in words. */
  description: string;
  /** In pixels, of what is drawn between the margins. */
  size: { width: number; height: number };
  margin: { left: number; right: number };
  rows: object[];
  layers: Layers;
}

/** Above the plot, for the title and the subtitle. */
const TOP = 84;
/** Below the plot, for the axis. */
const BOTTOM = 44;

const CONFIG: Config = {
  aria: false,
  font: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  background: COLORS.paper,
  view: { stroke: null },
  axis: {
    domain: false,
    ticks: false,
    gridColor: COLORS.line,
    labelColor: COLORS.quiet,
    labelFontSize: 12,
    titleColor: COLORS.quiet,
    titleFontSize: 12,
    titleFontWeight: 'normal',
    // Without a canvas, widths of text are guessed: nothing is cut by them.
    labelLimit: 0,
  },
  text: { color: COLORS.ink, fontSize: 13 },
  rule: { color: COLORS.quiet },
};

export interface TextStyle {
  align?: 'left' | 'right';
  color?: string;
  fontSize?: number;
  fontWeight?: 600;
  lineBreak?: string;
  lineHeight?: number;
}

/** A line of text at a place, counted from the corner of the plot. */
export const line = (text: string, x: number, y: number, style: TextStyle = {}): Layers[number] => ({
  data: { values: [{}] },
  mark: { type: 'text', align: 'left', x, y, ...style },
  encoding: { text: { value: text } },
});

const escaped = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/**
 * A chart as SVG. It has its own paper, light or dark, and no legend: what is drawn is named where it is.
 *
 * @param results - fingerprint of the results that it shows
 */
export async function draw(chart: Chart, results: string): Promise<string> {
  const { title, subtitle, description, size, margin, rows, layers } = chart;
  const spec: TopLevelSpec = {
    ...size,
    data: { values: rows },
    autosize: 'none',
    padding: { left: margin.left, right: margin.right, top: TOP, bottom: BOTTOM },
    layer: [
      ...layers,
      line(title, 20 - margin.left, -58, { fontSize: 17, fontWeight: 600 }),
      line(subtitle, 20 - margin.left, -36, { color: COLORS.quiet }),
    ],
    config: CONFIG,
  };
  const svg = await new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
  const head = /^<svg [^>]*>/.exec(svg)![0];
  const named = head
    .replace('class="marks"', `role="img" aria-labelledby="title desc" data-results="${results}"`)
    .replace(/ xmlns:xlink="[^"]*"/, '');
  const words = `<title id="title">${escaped(title)}</title>\n<desc id="desc">${escaped(description)}</desc>`;
  return `${named}\n${words}\n<style>${STYLE}</style>\n${svg.slice(head.length)}\n`;
}
