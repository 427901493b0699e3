import type { Type } from '@nestjs/common';
import type { DataSource, EntityMetadata } from 'typeorm';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { formatValue } from '../options/option-checks.js';
import type { UserProperties } from './user-entity.js';

type ColumnMetadata = EntityMetadata['columns'][number];

/** A text for a transformer to try. */
const NIL_UUID = '00000000-0000-0000-0000-000000000000';

/** The second parameter of `forFeature()` for a data source with a name; TypeORM 1 has it among the options only. */
function nameParameter({ options }: DataSource): string {
  const { name = 'default' } = options as { name?: string };
  return name === 'default' ? '' : `, '${name}'`;
}

/**
 * Checks, at start-up, that users can be read from an entity.
 *
 * @throws ExpiringTokenOptionsError if the entity is not registered, lacks a column, or does not select one
 */
export function checkUserEntity<User>(
  dataSource: DataSource,
  entity: Type<User>,
  properties: UserProperties<User>,
): void {
  if (!dataSource.hasMetadata(entity)) {
    throw new ExpiringTokenOptionsError(
      'users',
      `${entity.name} is not an entity of the data source`,
      `Add ${entity.name} to its entities, or set autoLoadEntities and import TypeOrmModule.forFeature([${entity.name}]${nameParameter(dataSource)}).`,
    );
  }
  const { id, username, password, active } = properties;
  for (const [role, property] of Object.entries({ id, username, password, active })) {
    if (role === 'active' && property === undefined) continue;
    const column = property && dataSource.getMetadata(entity).findColumnWithPropertyName(property);
    if (!column) {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name} has no column ${formatValue(property)} for ${role}`,
        'Give typeOrmUsers the names of properties of the entity.',
      );
    }
    if (!column.isSelect && role !== 'password') {
      throw new ExpiringTokenOptionsError(
        'users',
        `${entity.name}.${property} has select: false`,
        'Remove it: only the password may have select: false.',
      );
    }
    checkColumnType(dataSource, column, role as Role);
  }
  checkUnique(dataSource.getMetadata(entity), dataSource.getMetadata(entity).findColumnWithPropertyName(id)!);
}

/** What a property is used for. */
type Role = keyof UserProperties<unknown>;

/** Types whose values are not text, by the name in the decorator or in the database. */
const BINARY = /blob|binary|bytea|^(?:var)?bit\b/;
const OBJECT = /json|simple-array|hstore|geometry|geography|point|polygon|^line|^lseg|^box|^path|^circle|range$/;
const TIME = /date|time|interval|^year/;
const BOOLEAN = /^bool/;
const NUMBER_IN_CODE = /^(?:tiny|small|medium)?int(?:eger)?[24]?$|float|double|^real$|^serial$|^smallserial$|^number$/;

const REFUSED: Readonly<Record<Role, { types: readonly RegExp[]; remedy: string }>> = {
  id: {
    types: [BINARY, OBJECT, TIME, BOOLEAN],
    remedy: 'Name a unique property that is a text, a UUID or a number.',
  },
  username: { types: [BINARY, OBJECT, TIME, BOOLEAN, NUMBER_IN_CODE], remedy: 'Name a property that is a text.' },
  password: { types: [BINARY, OBJECT, TIME, BOOLEAN, NUMBER_IN_CODE], remedy: 'Name a property that is a text.' },
  active: { types: [], remedy: 'Name a boolean property, or leave active out and override isActive in a subclass.' },
};

/** The types whose values are true, false, 1 or 0. */
const ACTIVE = /^bool|^(?:tiny|small|medium)?int(?:eger)?[24]?$/;

/** Rejects a column whose values cannot serve: a transformer may change them, so only its result counts then. */
function checkColumnType(dataSource: DataSource, column: ColumnMetadata, role: Role): void {
  const { driver } = dataSource;
  const types = [driver.normalizeType(column), typeof column.type === 'string' ? column.type : ''];
  const { types: refused, remedy } = REFUSED[role];
  const isRefused =
    column.isArray ||
    (role === 'active' ? !ACTIVE.test(types[0]!) : refused.some((pattern) => types.some((type) => pattern.test(type))));
  const isUnusable = column.transformer ? role === 'id' && isTransformedToObject(dataSource, column) : isRefused;
  if (!isUnusable) return;
  const kind = column.transformer ? 'has a transformer that makes objects' : `is of type ${types[1] || types[0]}`;
  throw new ExpiringTokenOptionsError(
    'users',
    `${column.entityMetadata.name}.${column.propertyName} ${kind}, which cannot be used as ${role}`,
    remedy,
  );
}

/** Whether the transformer of a column makes an object of some value of the column. */
function isTransformedToObject({ driver }: DataSource, column: ColumnMetadata): boolean {
  const type = driver.normalizeType(column);
  const sample = BINARY.test(type) ? Buffer.alloc(16) : /int|serial|numeric|decimal/.test(type) ? 1 : NIL_UUID;
  try {
    const value: unknown = driver.prepareHydratedValue(sample, column);
    return typeof value === 'object' && value !== null;
  } catch {
    // The transformer does not accept the sample.
    return false;
  }
}

/** Rejects an id that two rows may have, such as a half of a composite key: the tokens of one user would be those of another. */
function checkUnique({ name, primaryColumns, uniques, indices }: EntityMetadata, column: ColumnMetadata): void {
  const isAlone = (columns: readonly ColumnMetadata[]) => columns.length === 1 && columns[0] === column;
  const isUnique =
    isAlone(primaryColumns) ||
    uniques.some(({ columns }) => isAlone(columns)) ||
    indices.some(({ columns, isUnique: unique, where }) => unique && !where && isAlone(columns));
  if (isUnique) return;
  throw new ExpiringTokenOptionsError(
    'users',
    `${name}.${column.propertyName} is not unique alone, so two users may have the same id`,
    'Name the only primary column, or a column with unique: true, as id.',
  );
}
