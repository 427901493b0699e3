import { COLORS } from './colors.js';
import type { Layers, TextStyle } from './draw.js';

/** Where the names of rows begin, left of the plot. */
export const NAMES_WIDTH = 250;

/** A row for each title, in the order of the data. */
export const ROW = { field: 'title', type: 'nominal', sort: null } as const;

/** The same with its name at the left. */
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

/** A bar for each row, of its own color. */
export const bars = (x: object): Layers[number] => ({
  mark: { type: 'bar', height: 16, cornerRadiusEnd: 3 },
  encoding: { y: NAMED_ROW, x, color: { field: 'color', scale: null } },
});

/** A column of figures, which end at a place. */
export const column = (field: string, x: number, style: TextStyle = {}): Layers[number] => ({
  mark: { type: 'text', align: 'right', x, ...style },
  encoding: { y: ROW, text: { field } },
});

/** Milliseconds or microseconds with as many digits as they are worth. */
export const short = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
