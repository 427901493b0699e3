import type { AllCosts } from './costs.js';
import { readInputs } from './inputs.js';
import { growthTables } from './tables.js';

/** A command of the model in a fenced block, and the figures behind it. */
const EXAMPLE = /(npm run bench:load-model -- ([^\n]+)\n```\n\n<!-- figures -->\n).*?(<!-- end of figures -->)/gs;

/** Replaces the figures behind each command of a guide by those that the model computes. */
export const withFigures = (guide: string, costs: AllCosts): string =>
  guide.replaceAll(EXAMPLE, (_, command: string, options: string, end: string) => {
    const inputs = readInputs(options.split(' '));
    if (!inputs) throw new Error(`the guide must show figures for: ${options}`);
    return `${command}\n${growthTables(inputs, costs)}\n\n${end}`;
  });
