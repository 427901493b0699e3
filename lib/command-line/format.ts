import type { Device } from '../tokens/device.js';

/** A number with its noun, in the singular or plural. */
export const formatCount = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? '' : 's'}`;

/** A time in UTC, to the second. */
export const formatTime = (date: Date | null, placeholder = 'never'): string =>
  date ? `${date.toISOString().slice(0, 19).replace('T', ' ')}Z` : placeholder;

/** The devices as lines of a table. */
export function formatDevices(devices: readonly Device[]): string[] {
  const rows = [
    ['DEVICE', 'CREATED', 'LAST USED', 'EXPIRES', 'NAME'],
    ...devices.map(({ id, name, createdAt, lastUsedAt, expiresAt }) => [
      id,
      formatTime(createdAt),
      formatTime(lastUsedAt, '-'),
      formatTime(expiresAt),
      name ?? '-',
    ]),
  ];
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column]!))
      .join('  ')
      .trimEnd(),
  );
}
