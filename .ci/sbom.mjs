/**
 * Prints a CycloneDX SBOM of the installed package: its direct and transitive dependencies, in the versions of
 * package-lock.json.
 *
 * `npm sbom --omit dev` also omits packages that a development dependency needs too, for example `ms`. Therefore this script
 * passes a lock file without development dependencies to npm.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const read = (name) => JSON.parse(readFileSync(resolve(import.meta.dirname, '..', name), 'utf8'));

/** Removes the dependencies that the package does not install: development and peer dependencies. */
function asInstalled({ devDependencies: _dev, peerDependencies: _peers, peerDependenciesMeta: _optional, ...rest }) {
  return rest;
}

const manifest = asInstalled(read('package.json'));
const { packages, ...lock } = read('package-lock.json');
const installed = Object.entries(packages).filter(([, { dev, peer }]) => !dev && !peer);

const temporary = mkdtempSync(join(tmpdir(), 'sbom-'));
try {
  // npm uses the directory name as the name of the SBOM's subject.
  const directory = join(temporary, manifest.name);
  mkdirSync(directory);
  const write = (name, value) => writeFileSync(join(directory, name), JSON.stringify(value));
  write('package.json', manifest);
  write('package-lock.json', {
    ...lock,
    packages: { ...Object.fromEntries(installed), '': asInstalled(packages['']) },
  });
  execFileSync('npm', ['sbom', '--package-lock-only', '--sbom-format', 'cyclonedx', '--sbom-type', 'library'], {
    cwd: directory,
    stdio: 'inherit',
  });
} finally {
  rmSync(temporary, { recursive: true, force: true });
}
