import { randomBytes } from 'node:crypto';

/** The only accepted form of an id: lower case, with hyphens, without anything around it. */
const CANONICAL_UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** Whether a value is a UUID in its canonical form. Other spellings of the same bits are rejected before any SQL runs. */
export const isUuid = (value: unknown): value is string => typeof value === 'string' && CANONICAL_UUID.test(value);

/** The canonical form of a UUID, from the first 16 bytes. */
export function uuidFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes.buffer, bytes.byteOffset, 16).toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The 16 bytes of a canonical UUID. */
export const bytesFromUuid = (uuid: string): Buffer => Buffer.from(uuid.replaceAll('-', ''), 'hex');

/**
 * Creates a UUIDv7 (RFC 9562 §5.7): 48 bits of time, then random bits. A later id sorts after an earlier one, so the index of
 * a primary key grows at one end.
 *
 * @param now - milliseconds since the epoch
 */
export function uuidV7(now: number): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(now, 0, 6);
  bytes[6] = 0x70 | (bytes[6]! & 0x0f);
  bytes[8] = 0x80 | (bytes[8]! & 0x3f);
  return uuidFromBytes(bytes);
}
