import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8');

const places: string[] = [];
afterAll(() => {
  for (const place of places) rmSync(place, { recursive: true, force: true });
});

/** A copy of the files that the release check reads, with some of them changed. */
function copyWith(changes: Record<string, (text: string) => string> = {}): string {
  const place = mkdtempSync(join(tmpdir(), 'release-'));
  places.push(place);
  for (const file of ['package.json', 'CHANGELOG.md', '.ci/check-release.mjs', '.github/CODEOWNERS']) {
    cpSync(join(ROOT, file), join(place, file), { recursive: true });
    if (changes[file]) writeFileSync(join(place, file), changes[file](read(file)));
  }
  return place;
}

const checkRelease = (place: string, ...tag: string[]) => {
  const { status, stderr } = spawnSync(process.execPath, ['.ci/check-release.mjs', ...tag], {
    cwd: place,
    encoding: 'utf8',
  });
  return { status, stderr };
};

/** What a maintainer fills in before the first release. */
const FILLED_IN = {
  'package.json': (text: string) => {
    const repository = { type: 'git', url: 'git+https://example.com/owner/name.git' };
    return JSON.stringify({ ...(JSON.parse(text) as object), version: '1.2.3', repository });
  },
  'CHANGELOG.md': (text: string) => text.replace('## [Unreleased]', '## [1.2.3] - 2027-01-01'),
  '.github/CODEOWNERS': () => '* @owner\n',
};

describe('A release', () => {
  it('is refused until the address of the repository is filled in, in package.json alone', () => {
    const { status, stderr } = checkRelease(copyWith());
    const isKnown = 'repository' in (JSON.parse(read('package.json')) as object);
    expect(isKnown || status === 1).toBe(true);
    expect(stderr.includes('package.json: fill in "repository"')).toBe(!isKnown);
  });

  it('is accepted when address, owner, changelog and tag are those of the version', () => {
    expect(checkRelease(copyWith(FILLED_IN), 'v1.2.3')).toEqual({ status: 0, stderr: '' });
  });

  it.each([
    ['without an address', 'package.json', (text: string) => text, 'fill in "repository"'],
    ['without an owner', '.github/CODEOWNERS', () => '# nobody\n', 'name an owner'],
    ['without an entry in the changelog', 'CHANGELOG.md', (text: string) => text, 'rename "Unreleased" to'],
  ])('is refused %s', (_, file, change, problem) => {
    const { status, stderr } = checkRelease(copyWith({ ...FILLED_IN, [file]: change }));
    expect(status).toBe(1);
    expect(stderr).toContain(problem);
  });

  it('is refused with the tag of another version', () => {
    const { status, stderr } = checkRelease(copyWith(FILLED_IN), 'v1.2.4');
    expect(status).toBe(1);
    expect(stderr).toContain('the tag is v1.2.4');
  });

  it('runs this check before every publish, and publishes from a tag with provenance', () => {
    expect(JSON.parse(read('package.json'))).toMatchObject({
      scripts: { prepublishOnly: 'node .ci/check-release.mjs' },
    });
    const workflow = read('.github/workflows/release.yml');
    for (const line of ["tags: ['v*']", 'id-token: write', 'check-release.mjs "$GITHUB_REF_NAME"', '--provenance']) {
      expect(workflow, line).toContain(line);
    }
  });
});

describe('The repository', () => {
  it('has what GitHub and editors look for', () => {
    const found = readdirSync(ROOT);
    for (const file of [
      '.editorconfig',
      '.node-version',
      'CODE_OF_CONDUCT.md',
      'SECURITY.md',
      'renovate.json',
      'LICENSE',
    ]) {
      expect(found, file).toContain(file);
    }
    expect(readdirSync(join(ROOT, '.github'), { recursive: true, encoding: 'utf8' }).toSorted()).toEqual([
      'CODEOWNERS',
      'ISSUE_TEMPLATE',
      'ISSUE_TEMPLATE/bug.yml',
      'ISSUE_TEMPLATE/config.yml',
      'ISSUE_TEMPLATE/feature.yml',
      'pull_request_template.md',
      'workflows',
      'workflows/ci.yml',
      'workflows/release.yml',
    ]);
  });

  it('runs the same gate in CI as on a machine of a contributor', () => {
    expect(read('.github/workflows/ci.yml')).toContain('- run: bash .ci/run');
    expect(read('.ci/run')).toContain('npm run check:unused');
  });
});
