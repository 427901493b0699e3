import { COLORS } from './colors.js';
import type { Layers, TextStyle } from './draw.js';

/** Width of the row labels left of the plot, in pixels. */
export const NAMES_WIDTH = 250;

/** One row for each title, in the order of the data. */
export const ROW = { field: 'title', type: 'nominal', sort: null } as const;

/** {@link ROW} with a label at the left. */
export const NAMED_ROW = {
  ...ROW,
  axis: {
    title: null,
    grid: false,
    labelAlign: 'left',
    labelPadding: NAMES_WIDTH,
    labelFontSize: 13,
    labelColor: COLORS.ink,
  },
} as const;

/** One bar for each row, in the color that the row names. */
export const bars = (x: object): Layers[number] => ({
  mark: { type: 'bar', height: 16, cornerRadiusEnd: 3 },
  encoding: { y: NAMED_ROW, x, color: { field: 'color', scale: null } },
});

/** A column of figures, right-aligned at `x`. */
export const column = (field: string, x: number, style: TextStyle = {}): Layers[number] => ({
  mark: { type: 'text', align: 'right', x, ...style },
  encoding: { y: ROW, text: { field } },
});

/** Rounds milliseconds or microseconds to their significant digits. */
export const short = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
