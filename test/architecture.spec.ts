import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, posix, resolve } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const LIB = join(ROOT, 'lib');
const architecture = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8');

/** The files of the module itself, which stand in no folder. */
const LIB_ROOT = 'the root of `lib`';

/** The rooms as the first table of ARCHITECTURE.md lists them, from top to bottom. */
const ROOMS = [...architecture.matchAll(/^\| (`[\w-]+\/`|the root of `lib`) +\|/gm)].map(([, room]) =>
  room === LIB_ROOT ? LIB_ROOT : room!.slice(1, -2),
);

const FILES = readdirSync(LIB, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'));

/** Any room may import the injection tokens. */
const CONSTANTS = 'expiring-token.constants.ts';

const roomOf = (file: string): string => (file.includes('/') ? file.split('/', 1)[0]! : LIB_ROOT);

/** Every import of a file of another room, of types too. */
const IMPORTS = FILES.flatMap((file) => {
  const source = readFileSync(join(LIB, file), 'utf8');
  return [...source.matchAll(/\b(?:from|import)\b *\(? *'(\.[^']*)'/g)].map(([, path]) => ({
    file,
    imported: posix.join(posix.dirname(file), path!).replace(/\.js$/, '.ts'),
  }));
}).filter(({ file, imported }) => roomOf(file) !== roomOf(imported) && imported !== CONSTANTS);

const describeImport = ({ file, imported }: { file: string; imported: string }) => `${file} -> ${imported}`;

describe('ARCHITECTURE.md', () => {
  it('lists every room of lib/, and no other', () => {
    const folders = readdirSync(LIB, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(ROOMS.toSorted()).toEqual([LIB_ROOT, ...folders.map(({ name }) => name)].toSorted());
  });

  it('names only files that are there', () => {
    const named = [...architecture.matchAll(/`((?:[\w-]+\/)+[\w.-]+\.ts)`/g)].map(([, file]) => file!);
    expect(named.length).toBeGreaterThan(20);
    for (const file of named) {
      expect([...FILES.map((path) => `lib/${path}`), ...FILES, 'test/architecture.spec.ts'], file).toContain(file);
    }
  });

  it('is under three pages', () => {
    expect(architecture.split(/\s+/).length).toBeLessThan(1500);
  });
});

describe('Log lines', () => {
  it('are written by one class, which escapes them', () => {
    const importing = FILES.filter((file) =>
      /import \{[^}]*\b(?:Console)?Logger\b[^}]*\} from '@nestjs\/common'/.test(readFileSync(join(LIB, file), 'utf8')),
    );
    expect(importing).toEqual(['errors/package.logger.ts']);
  });
});

describe('Imports', () => {
  it('are found', () => {
    expect(IMPORTS.length).toBeGreaterThan(100);
    expect(IMPORTS.map(describeImport)).toContain('routes/login.controller.ts -> tokens/transactions/token.issuer.ts');
  });

  it('only go down the list of rooms', () => {
    const upwards = IMPORTS.filter(
      ({ file, imported }) => ROOMS.indexOf(roomOf(imported)) < ROOMS.indexOf(roomOf(file)),
    );
    expect(upwards.map(describeImport)).toEqual([]);
  });

  it('connect no two rooms in both directions', () => {
    const pairs = new Set(IMPORTS.map(({ file, imported }) => `${roomOf(file)} -> ${roomOf(imported)}`));
    const mutual = [...pairs].filter((pair) => pairs.has(pair.split(' -> ').toReversed().join(' -> ')));
    expect(mutual).toEqual([]);
  });
});

describe('The linter', () => {
  /** Wrong imports: from every room to the one above it, and others. */
  const WRONG = [
    ...ROOMS.slice(ROOMS.indexOf('container')).map((room, index, rooms) => {
      const above = index === 0 ? 'command-line' : rooms[index - 1]!;
      return [`${room}/wrong.ts`, `../${above}/other.js`] as const;
    }),
    ['tokens/module.ts', '../expiring-token.module.js'],
    ['tokens/secret/wrong.ts', '../../routes/other.js'],
    ['migrations/wrong.ts', '../tokens/token.entity.js'],
    ['index.ts', './command-line/program.js'],
  ] as const;
  const RIGHT = [
    ['routes/right.ts', '../tokens/other.js'],
    ['errors/right.ts', '../expiring-token.constants.js'],
  ] as const;
  let rejected: string[];

  beforeAll(() => {
    const place = mkdtempSync(join(tmpdir(), 'lint-'));
    cpSync(join(ROOT, '.oxlintrc.json'), join(place, '.oxlintrc.json'));
    for (const [file, imported] of [...WRONG, ...RIGHT]) {
      const path = join(place, 'lib', file);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, `import { something } from '${imported}';\n\nexport const other = something;\n`);
    }
    const oxlint = join(ROOT, 'node_modules/oxlint/bin/oxlint');
    const { stdout } = spawnSync(process.execPath, [oxlint, '--format=json', 'lib'], { cwd: place, encoding: 'utf8' });
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
    rejected = diagnostics
      .filter(({ code }) => code.includes('no-restricted-imports'))
      .map(({ filename }) => filename.replace(/^.*lib\//, ''));
    rmSync(place, { recursive: true, force: true });
  });

  it.each(WRONG)('turns red on an import from %s to %s', (file) => {
    expect(rejected).toContain(file);
  });

  it.each(RIGHT)('accepts an import from %s to %s', (file) => {
    expect(rejected).not.toContain(file);
  });
});
