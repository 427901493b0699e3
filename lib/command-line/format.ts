import type { Device } from '../tokens/device.js';
import type { PersonalToken } from '../tokens/personal/personal-token.js';

/** A number with its noun, in the singular or plural. */
export const formatCount = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** A time in UTC, to the second. */
export const formatTime = (date: Date | null, placeholder = 'never'): string =>
  date ? `${date.toISOString().slice(0, 19).replace('T', ' ')}Z` : placeholder;

/** The devices as lines of a table. */
export const formatDevices = (devices: readonly Device[]): string[] =>
  formatTable([
    ['DEVICE', 'CREATED', 'LAST USED', 'EXPIRES', 'NAME'],
    ...devices.map((device) => [...columnsOf(device), device.name ?? '-']),
  ]);

/** Personal tokens as lines of a table. */
export const formatPersonalTokens = (tokens: readonly PersonalToken[]): string[] =>
  formatTable([
    ['TOKEN', 'CREATED', 'LAST USED', 'EXPIRES', 'SCOPES', 'NAME'],
    ...tokens.map((token) => [...columnsOf(token), formatScopes(token.scopes), token.name]),
  ]);

/** What a token may do. */
const formatScopes = (scopes: readonly string[] | null): string => scopes?.join(' ') ?? 'all';

/** The columns that devices and personal tokens have in common. */
const columnsOf = ({ id, createdAt, lastUsedAt, expiresAt }: Device | PersonalToken): string[] => [
  id,
  formatTime(createdAt),
  formatTime(lastUsedAt, '-'),
  formatTime(expiresAt),
];

function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}
