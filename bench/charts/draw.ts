import { parse, View } from 'vega';
import { compile, type Config, type TopLevelSpec } from 'vega-lite';
import { COLORS, STYLE } from './colors.js';

/** The layers of a chart; later layers are drawn on top of earlier ones. */
export type Layers = Extract<TopLevelSpec, { layer: unknown }>['layer'];

/** A chart, with the title and the description that a screen reader reads out. */
export interface Chart {
  /** File name without extension. */
  name: string;
  title: string;
  subtitle: string;
  /** The figures in words, for readers who cannot see the chart. */
  description: string;
  /** Size of the plot between the margins, in pixels. */
  size: { width: number; height: number };
  margin: { left: number; right: number };
  rows: object[];
  layers: Layers;
}

/** Space above the plot for the title and the subtitle, in pixels. */
const TOP = 84;
/** Space below the plot for the axis, in pixels. */
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
    // Without a canvas, Vega only estimates the width of a text. No limit, so that a wrong estimate cuts no label.
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

/** A line of text at a position relative to the top left corner of the plot. */
export const line = (text: string, x: number, y: number, style: TextStyle = {}): Layers[number] => ({
  data: { values: [{}] },
  mark: { type: 'text', align: 'left', x, y, ...style },
  encoding: { text: { value: text } },
});

const escapeXml = (text: string): string => text.replace(/&/g, '&amp;').replace(/</g, '&lt;').replace(/>/g, '&gt;');

/**
 * Draws a chart as SVG. The chart has its own background, light or dark. It has no legend: each element is labelled in place.
 *
 * @param results - fingerprint of the results that the chart shows
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
  const words = `<title id="title">${escapeXml(title)}</title>\n<desc id="desc">${escapeXml(description)}</desc>`;
  return `${named}\n${words}\n<style>${STYLE}</style>\n${svg.slice(head.length)}\n`;
}
