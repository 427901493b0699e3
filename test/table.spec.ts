import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { User } from 'nestjs-expiring-token';
import { beforeAll, describe, expect, it } from 'vitest';
import { Table } from '../lib/database/table.js';
import { onEveryDatabase } from './fixtures/app.js';

describe('A statement', () => {
  onEveryDatabase(
    (environment) => {
      let table: Table<User, Partial<Pick<User, 'id' | 'username' | 'active'>>>;
      beforeAll(async () => {
        table = new Table((await environment.boot()).dataSource, User);
      });

      it.each([{}, { id: undefined }, { id: '1', username: undefined }, { nothing: 1 }])(
        'is not made of criteria that could be those of other rows: %o',
        (criteria) => {
          expect(() => table.select(criteria)).toThrow(TypeError);
          expect(() => table.delete(criteria)).toThrow(TypeError);
          expect(() => table.delete(criteria, { id: '1' })).toThrow(TypeError);
          expect(() => table.update({ active: false }, criteria)).toThrow(TypeError);
        },
      );

      it('changes nothing else than it is told to, and spares what it is told to', () => {
        expect(() => table.update({ active: undefined }, { id: '1' })).toThrow(TypeError);
        expect(() => table.delete({ username: 'ann' }, { id: undefined })).toThrow(TypeError);
        expect(() => table.insert({ id: '1', username: undefined })).toThrow(TypeError);
        expect(table.delete({ username: 'ann' }, { id: '1' }).values).toEqual(['ann', '1']);
      });
    },
    ['sqlite'],
  );

  it('is made by nothing else: TypeORM itself takes undefined for any value, and is asked for users alone', () => {
    const lib = resolve(import.meta.dirname, '../lib');
    const sources = readdirSync(lib, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'));
    const finders = /\.(find(?:One(?:By)?(?:OrFail)?|By|AndCount(?:By)?)|softDelete|softRemove|upsert|save)\(/;
    const repositories = /(?:repository(?:\([^)]*\))?|manager)\s*\.((?!getRepository)\w+)\(/i;
    const asked = sources.flatMap((file) => {
      const code = readFileSync(join(lib, file), 'utf8');
      const calls = [finders, repositories].flatMap((pattern) => [...code.matchAll(new RegExp(pattern, 'gi'))]);
      return [...new Set(calls.map(({ 1: method }) => `${file}: ${method}`))];
    });
    expect(asked).toEqual(['users/typeorm-users.ts: findOneBy', 'users/typeorm-users.ts: findBy']);
  });
});
