import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, inject, it } from 'vitest';
import { IS_THOROUGH } from './fixtures/iterations.js';

const REPOSITORY = resolve(import.meta.dirname, '..');
const run = promisify(execFile);

/** Runs a script of `.ci/` to its end, and returns its exit code also if it fails. */
async function runScript(name: string, cwd: string, environment: Record<string, string> = {}) {
  const child = run(process.execPath, [join(REPOSITORY, '.ci', name)], {
    cwd,
    env: { ...process.env, ...environment },
  });
  const { stdout } = await child.catch((error: { stdout: string }) => error);
  return { code: child.child.exitCode, stdout };
}

describe.runIf(IS_THOROUGH)('The audit', () => {
  const advisories = (severity: string) => ({
    brittle: [
      { id: 1, url: 'https://example.org/GHSA-1', title: 'It breaks', severity, vulnerable_versions: '<2.0.0' },
    ],
  });
  const version = (number: string) => ({ [number]: { name: 'brittle', version: number } });
  const PACKUMENT = { name: 'brittle', versions: { ...version('1.0.0'), ...version('2.0.0') } };
  let server: ReturnType<typeof createServer> | undefined;

  afterEach(() => server?.close());

  /** Starts a registry with one package, `brittle`. It answers a request for advisories with this. */
  async function registry(status: number, answer: unknown): Promise<string> {
    server = createServer((request: IncomingMessage, response: ServerResponse) => {
      const isForAdvisories = request.method === 'POST';
      const body = isForAdvisories ? answer : PACKUMENT;
      response.writeHead(isForAdvisories ? status : 200, { 'Content-Type': 'application/json' });
      response.end(typeof body === 'string' ? body : JSON.stringify(body));
    });
    await new Promise<void>((listening) => server!.listen(0, '127.0.0.1', listening));
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  }

  /** Audits an application with `brittle` as its development dependency. */
  async function audit(url: string, environment: Record<string, string> = {}) {
    const application = mkdtempSync(join(inject('directory'), 'audited-'));
    const manifest = { name: 'audited', version: '1.0.0', devDependencies: { brittle: '1.0.0' } };
    const brittle = { version: '1.0.0', dev: true };
    const lock = { lockfileVersion: 3, packages: { '': manifest, 'node_modules/brittle': brittle } };
    writeFileSync(join(application, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(application, 'package-lock.json'), JSON.stringify(lock));
    const npm = {
      npm_config_registry: url,
      npm_config_noproxy: '127.0.0.1',
      npm_config_cache: join(application, 'cache'),
    };
    return runScript('audit.mjs', application, { ...npm, ...environment });
  }

  it.each(['high', 'critical'])(
    'fails on a finding of %s severity, and names the package and the advisory',
    async (severity) => {
      const { code, stdout } = await audit(await registry(200, advisories(severity)));
      expect(stdout).toContain(`${severity}: brittle 1.0.0 (https://example.org/GHSA-1)`);
      expect(code).toBe(1);
    },
  );

  it('passes without a finding', async () => {
    const { code, stdout } = await audit(await registry(200, {}));
    expect(stdout).toMatch(/^0 vulnerable packages/);
    expect(code).toBe(0);
  });

  it('passes on a finding of moderate severity, and names it', async () => {
    const { code, stdout } = await audit(await registry(200, advisories('moderate')));
    expect(stdout).toContain('moderate: brittle');
    expect(code).toBe(0);
  });

  it.each([404, 405])(
    'passes on a registry without advisories, %i, with a warning that nothing was audited',
    async (status) => {
      const { code, stdout } = await audit(await registry(status, ''));
      expect(stdout).toContain(`!!! NOT AUDITED: ${status}`);
      expect(code).toBe(0);
    },
  );

  it.each([
    ['answers with an error', 500, ''],
    ['requires a login', 401, ''],
    ['answers with another format', 200, '<html>'],
  ])('fails on a registry that %s', async (_what, status, answer) => {
    const { code, stdout } = await audit(await registry(status, answer));
    expect(stdout).toContain('The audit failed');
    expect(code).toBe(1);
  });

  it('fails on a registry that is not reachable', async () => {
    const url = await registry(200, {});
    await new Promise((closed) => server!.close(closed));
    expect(await audit(url)).toMatchObject({ code: 1, stdout: expect.stringContaining('ECONNREFUSED') });
  });

  it.each<Record<string, string>>([{ npm_config_offline: 'true' }, { NODE_ENV: 'production' }])(
    'audits development dependencies too, even if the machine has %o',
    async (environment) => {
      expect(await audit(await registry(200, advisories('high')), environment)).toMatchObject({ code: 1 });
    },
  );
});

describe.runIf(IS_THOROUGH)('The SBOM', () => {
  it('lists each package that an installation adds, and no other', async () => {
    const { code, stdout } = await runScript('sbom.mjs', REPOSITORY);
    expect(code).toBe(0);
    const sbom = JSON.parse(stdout) as Sbom;
    expect(sbom).toMatchObject({ bomFormat: 'CycloneDX', metadata: { component: { name: 'nestjs-expiring-token' } } });
    const { packages } = JSON.parse(readFileSync(join(REPOSITORY, 'package-lock.json'), 'utf8')) as Lock;
    const installed = Object.entries(packages)
      .filter(([path, { dev, peer }]) => path !== '' && !dev && !peer)
      .map(([path, { version }]) => `${path.replace(/^.*node_modules\//, '')}@${version}`);
    const listed = sbom.components.map(({ name, version }) => `${name}@${version}`);
    expect(listed.toSorted()).toEqual(installed.toSorted());
    // Development needs these too, and `npm sbom --omit dev` omits them.
    expect(listed.join()).toMatch(/\bms@.*\bpassport-strategy@/);
  });
});

interface Sbom {
  components: { name: string; version: string }[];
}

interface Lock {
  packages: Record<string, { version: string; dev?: true; peer?: true }>;
}
