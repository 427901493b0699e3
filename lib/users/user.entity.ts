import { BaseEntity, Column, type DataSource, Entity, PrimaryColumn } from 'typeorm';
import { resolveColumnTypes } from '../database/column-types.js';

/** A user of the built-in store. */
@Entity('auth_user')
export class User extends BaseEntity {
  /** A UUIDv7. */
  @PrimaryColumn('uuid', { name: 'id' })
  id: string;

  /** Unique user name, compared exactly: `Ann` and `ann` are two users. */
  @Column('varchar', { name: 'username', length: 255, unique: true })
  username: string;

  /** Argon2id PHC string; null for a user who cannot log in with a password. Not selected by default. */
  @Column('varchar', { name: 'password', length: 255, nullable: true, select: false })
  password?: string | null;

  /** Whether the user may log in and use tokens. */
  @Column('boolean', { name: 'active', default: true })
  active: boolean;

  /** Called by TypeORM when a data source is initialized. */
  static override useDataSource(dataSource: DataSource | null): void {
    super.useDataSource(dataSource);
    if (dataSource) resolveColumnTypes(dataSource, this, { id: 'key', username: 'text' });
  }
}
