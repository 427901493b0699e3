/** By what it says. Each is readable on its paper: contrast of at least 4.5 for what is text. */
const PALETTE = {
  paper: { light: '#ffffff', dark: '#0d1117' },
  ink: { light: '#1f2328', dark: '#e6edf3' },
  quiet: { light: '#59636e', dark: '#9198a1' },
  line: { light: '#e6e9ec', dark: '#262c34' },
  others: { light: '#b4bcc5', dark: '#4a525c' },
  ours: { light: '#0969da', dark: '#4493f8' },
  missed: { light: '#bc4c00', dark: '#f0883e' },
} as const;

type Name = keyof typeof PALETTE;

const NAMES = Object.keys(PALETTE) as Name[];

/** As a chart names them: what they are is in {@link STYLE}. */
export const COLORS = Object.fromEntries(NAMES.map((name) => [name, `var(--${name})`])) as Record<Name, string>;

const variables = (scheme: 'light' | 'dark') => NAMES.map((name) => `--${name}:${PALETTE[name][scheme]}`).join(';');

/** Follows the reader's choice of light or dark, in an `<img>` as well. */
export const STYLE = `:root{${variables('light')}}@media (prefers-color-scheme:dark){:root{${variables('dark')}}}`;
