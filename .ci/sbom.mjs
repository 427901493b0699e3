/**
 * Prints a CycloneDX SBOM of what the package brings along: its dependencies and theirs, as package-lock.json has them.
 *
 * `npm sbom --omit dev` also omits what a development dependency happens to need too, such as `ms`. So npm is given a
 * lock file without development.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const read = (name) => JSON.parse(readFileSync(resolve(import.meta.dirname, '..', name), 'utf8'));

/** A manifest without what an installed package does not bring: its own development, and what the application brings. */
function asInstalled({ devDependencies: _dev, peerDependencies: _peers, peerDependenciesMeta: _optional, ...rest }) {
  return rest;
}

const manifest = asInstalled(read('package.json'));
const { packages, ...lock } = read('package-lock.json');
const installed = Object.entries(packages).filter(([, { dev, peer }]) => !dev && !peer);

const temporary = mkdtempSync(join(tmpdir(), 'sbom-'));
try {
  // npm names the document's subject after its directory.
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
