import { BaseEntity, Column, type DataSource, Entity, Index, PrimaryColumn } from 'typeorm';
import { resolveColumnTypes } from '../database/column-types.js';
import type { TokenPurpose } from './token-purpose.js';

/** How a lifespan without end is stored, in milliseconds. It is larger than any instant, so that comparisons stay correct. */
export const NEVER_MS = Number.MAX_SAFE_INTEGER;

/** An instant, stored as milliseconds since the epoch: exact, and independent of the time zone of a process or a server. */
const instant = {
  to: (date: unknown) => (date instanceof Date ? date.getTime() : date),
  // Drivers return bigint columns as numbers or as strings. Any other value becomes an invalid date: the token is expired.
  from: (value: unknown) => (value === null || value === undefined ? value : new Date(Number(value))),
};

const lifespan = {
  to: (value: unknown) => (value === Infinity ? NEVER_MS : value),
  from: (value: unknown) =>
    value === null || value === undefined ? value : Number(value) === NEVER_MS ? Infinity : Number(value),
};

/** Scopes are stored in the form of RFC 6749 §3.3: separated by spaces. */
const scopes = {
  to: (list: unknown) => (Array.isArray(list) ? list.join(' ') : list),
  // Null allows everything, so any other value that is not a text becomes the empty list, which allows nothing.
  from: (value: unknown) =>
    value === null || value === undefined
      ? value
      : typeof value === 'string'
        ? value.split(' ').filter((scope) => scope !== '')
        : [],
};

/**
 * A token as the database stores it. It never contains the token itself, which is shown once when it is issued.
 *
 * Extend this class to add columns, and set the option `tokenEntity` to the subclass. An added column must be nullable or have
 * a default in the database.
 */
@Entity({ name: 'auth_token', withoutRowid: true })
// One index finds the expired tokens by purpose and lifespan, and the few rows that have sealed successors.
@Index(['sealedUntil', 'purpose', 'lifespan', 'created'])
export class Token extends BaseEntity {
  /**
   * A UUIDv7, which the token contains, so that its row is found by primary key. For an imported token it is the start of its
   * digest.
   */
  @PrimaryColumn('uuid', { name: 'id' })
  id: string;

  /** What `UserStore.getId` returned for the owner. */
  @Index()
  @Column('varchar', { name: 'user_id', length: 255 })
  userId: string;

  /** The id of the device, which one login or one obtain created. */
  @Column('uuid', { name: 'device_id' })
  deviceId: string;

  /** What the token is for. */
  @Column('varchar', { name: 'purpose', length: 16 })
  purpose: TokenPurpose;

  /** SHA-256 of the whole token. Not loaded with the entity. */
  @Column('varchar', { name: 'digest', select: false })
  protected digest?: Buffer;

  /** The name of the device, which the client or the user gave it. */
  @Column('varchar', { name: 'name', length: 255, nullable: true })
  name: string | null;

  /** The user agent that the device was created with. */
  @Column('varchar', { name: 'user_agent', length: 255, nullable: true })
  userAgent: string | null;

  /**
   * When the token was created, or last renewed. Its age is counted from here. For a refresh token: when its device logged
   * in.
   */
  @Column('bigint', { name: 'created', transformer: instant })
  created: Date;

  /** Its own lifespan in milliseconds, `Infinity` if it never expires; null if the option `lifespan` applies. */
  @Column('bigint', { name: 'lifespan', nullable: true, transformer: lifespan })
  lifespan: number | null;

  /** When it was last used, as exactly as the option `lastUsedAccuracy` says; null if it never was. */
  @Column('bigint', { name: 'last_used_at', nullable: true, transformer: instant })
  lastUsedAt: Date | null;

  /** The successors of a rotated token, encrypted so that only this token opens them. Not loaded with the entity. */
  @Column('varchar', { name: 'sealed', nullable: true, select: false })
  protected sealed?: Buffer | null;

  /** Until when the successors can be opened. Not loaded with the entity. */
  @Column('bigint', { name: 'sealed_until', nullable: true, select: false, transformer: instant })
  protected sealedUntil?: Date | null;

  /**
   * What the token may do: null everything that its user may do, the empty list nothing that asks for a scope. At most 1,000
   * characters, with a space between two scopes.
   */
  @Column('varchar', { name: 'scopes', length: 1000, nullable: true, transformer: scopes })
  scopes: string[] | null;

  /**
   * When the user last proved who they are, at a login or an obtain; a refresh keeps it. Null if they did not, as for a token of
   * `ExpiringTokenService.issue`.
   */
  @Column('bigint', { name: 'authenticated_at', nullable: true, transformer: instant })
  authenticatedAt: Date | null;

  /** The client's address, or its network, as the option `address` says; null without the option. */
  @Column('varchar', { name: 'address', length: 45, nullable: true })
  address: string | null;

  /**
   * The id of somebody else who uses the token in place of its user (impersonation); null for the user's own token. It is what
   * `actor` of `ExpiringTokenService.issue` was.
   */
  @Column('varchar', { name: 'actor_id', length: 255, nullable: true })
  actorId: string | null;

  /** JSON of at most 1,000 bytes, for purposes that keep something with the token. Not loaded with the entity. */
  @Column('varchar', { name: 'data', length: 1000, nullable: true, select: false })
  protected data?: string | null;

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
      scopes: 'text',
      address: 'text',
      actorId: 'text',
      data: 'text',
    });
  }
}
