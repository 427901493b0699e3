/** Colors by their meaning. Each text color has a contrast of at least 4.5 to its background (`paper`). */
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

/** The CSS variables that charts use as colors. {@link STYLE} defines their values. */
export const COLORS = Object.fromEntries(NAMES.map((name) => [name, `var(--${name})`])) as Record<Name, string>;

const variables = (scheme: 'light' | 'dark') => NAMES.map((name) => `--${name}:${PALETTE[name][scheme]}`).join(';');

/** Applies the light or dark palette by the reader's system setting. This also works inside an `<img>`. */
export const STYLE = `:root{${variables('light')}}@media (prefers-color-scheme:dark){:root{${variables('dark')}}}`;
