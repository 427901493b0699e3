import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { User } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { Table } from '../lib/database/table.js';
import { onEveryDatabase } from './fixtures/app.js';

describe('An SQL statement of the package', () => {
  onEveryDatabase(
    (environment) => {
      let table: Table<User, Partial<Pick<User, 'id' | 'username' | 'active'>>>;
      beforeAll(async () => {
        table = new Table((await environment.boot()).dataSource, User);
      });

      it.each([{}, { id: undefined }, { id: '1', username: undefined }, { nothing: 1 }])(
        'is not built from criteria that could match other rows: %o',
        (criteria) => {
          expect(() => table.select(criteria)).toThrow(TypeError);
          expect(() => table.delete(criteria)).toThrow(TypeError);
          expect(() => table.update({ active: false }, criteria)).toThrow(TypeError);
        },
      );

      it('changes exactly the columns and rows that it names', () => {
        expect(() => table.update({ active: undefined }, { id: '1' })).toThrow(TypeError);
        expect(() => table.insert({ id: '1', username: undefined })).toThrow(TypeError);
        expect(table.delete({ username: 'ann', id: '1' }).values).toEqual(['ann', '1']);
      });
    },
    ['sqlite'],
  );

  it('is never built by TypeORM, which reads undefined as any value and is used for users only', () => {
    const lib = resolve(import.meta.dirname, '../lib');
    const sources = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    const finders = /\.(find(?:One(?:By)?(?:OrFail)?|By|AndCount(?:By)?)|softDelete|softRemove|upsert|save)\(/;
    const repositories = /(?:repository(?:\([^)]*\))?|manager)\s*\.((?!getRepository)\w+)\(/i;
    const usedMethods = sources.flatMap((file) => {
      const code = readFileSync(join(lib, file), 'utf8');
      const calls = [finders, repositories].flatMap((pattern) => [...code.matchAll(new RegExp(pattern, 'gi'))]);
      return [...new Set(calls.map(({ 1: method }) => `${file}: ${method}`))];
    });
    expect(usedMethods).toEqual(['users/typeorm-users.ts: find']);
  });
});
