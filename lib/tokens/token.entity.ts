import { BaseEntity, Column, type DataSource, Entity, Index, PrimaryColumn } from 'typeorm';
import { resolveColumnTypes } from '../database/column-types.js';

/**
 * What a token is for: `access` came from a login or from code, `obtained` from `POST obtain-token`, `refresh` gets its
 * device new tokens. `rotated` is a refresh token that did, kept to know it by if it is used again.
 */
export type TokenPurpose = 'access' | 'obtained' | 'refresh' | 'rotated';

/** Milliseconds as they are stored for a lifespan that never ends: larger than any instant, so that sums stay true. */
export const NEVER_MS = Number.MAX_SAFE_INTEGER;

/** Milliseconds since the epoch: exact, and the same in every time zone of a process, a session or a server. */
const instant = {
  to: (date: unknown) => (date instanceof Date ? date.getTime() : date),
  // Drivers return bigint columns as numbers or as strings. A value that is neither becomes an invalid date: expired.
  from: (value: unknown) => (value === null || value === undefined ? value : new Date(Number(value))),
};

const lifespan = {
  to: (value: unknown) => (value === Infinity ? NEVER_MS : value),
  from: (value: unknown) =>
    value === null || value === undefined ? value : Number(value) === NEVER_MS ? Infinity : Number(value),
};

/**
 * A token as the database has it: never the token itself, which is shown once when it is issued.
 *
 * Extend it to add columns of your own, and name the subclass as `tokenEntity`. A column of yours must be nullable or
 * have a default in the database.
 */
@Entity({ name: 'auth_token', withoutRowid: true })
// One index finds what has expired, kind by kind and lifespan by lifespan, and before it the few rows with something sealed.
@Index(['sealedUntil', 'purpose', 'lifespan', 'created'])
export class Token extends BaseEntity {
  /** UUIDv7, which the token carries; of an imported one, the start of its digest. So its row is found by primary key. */
  @PrimaryColumn('uuid', { name: 'id' })
  id: string;

  /** What `UserStore.getId` returned for the owner. */
  @Index()
  @Column('varchar', { name: 'user_id', length: 255 })
  userId: string;

  /** The device: what one login or one obtain made. */
  @Column('uuid', { name: 'device_id' })
  deviceId: string;

  /** What the token is for. */
  @Column('varchar', { name: 'purpose', length: 16 })
  purpose: TokenPurpose;

  /** SHA-256 of the whole token. Not loaded with the entity. */
  @Column('varchar', { name: 'digest', select: false })
  protected digest?: Buffer;

  /** Name of the device, as the client or the user gave it. */
  @Column('varchar', { name: 'name', length: 255, nullable: true })
  name: string | null;

  /** User agent that the device was made with. */
  @Column('varchar', { name: 'user_agent', length: 255, nullable: true })
  userAgent: string | null;

  /**
   * When the token was created, or last renewed. Its age is counted from here. Of a refresh token: when its device logged
   * in.
   */
  @Column('bigint', { name: 'created', transformer: instant })
  created: Date;

  /**
   * Its own lifespan in milliseconds, `Infinity` if it never expires; null where the module's `lifespan` applies.
   */
  @Column('bigint', { name: 'lifespan', nullable: true, transformer: lifespan })
  lifespan: number | null;

  /** When it was last used, as exactly as `lastUsedAccuracy` says; null if it never was. */
  @Column('bigint', { name: 'last_used_at', nullable: true, transformer: instant })
  lastUsedAt: Date | null;

  /** Of a rotated token: its successors, which only this token opens. Not loaded with the entity. */
  @Column('varchar', { name: 'sealed', nullable: true, select: false })
  protected sealed?: Buffer | null;

  /** Until when they can be opened. Not loaded with the entity. */
  @Column('bigint', { name: 'sealed_until', nullable: true, select: false, transformer: instant })
  protected sealedUntil?: Date | null;

  /** Called by TypeORM when a data source is initialized. */
  static override useDataSource(dataSource: DataSource | null): void {
    super.useDataSource(dataSource);
    if (!dataSource) return;
    resolveColumnTypes(dataSource, this, {
      id: 'uuid',
      deviceId: 'uuid',
      digest: 'digest',
      sealed: 'sealed',
      userId: 'text',
      purpose: 'text',
      name: 'text',
      userAgent: 'text',
    });
  }
}
