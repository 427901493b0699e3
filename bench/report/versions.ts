import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

const BENCH = new URL('../../', import.meta.url);

const manifest = (directory: string): { version: string; dependencies: Record<string, string> } =>
  JSON.parse(readFileSync(new URL(`${directory}/package.json`, BENCH), 'utf8'));

/** The first number in the output of a program that looks like a version. */
function versionOf(program: string, flag: string): string {
  try {
    return /\d+\.\d+(\.\d+)?/.exec(execFileSync(program, [flag], { encoding: 'utf8' }))![0];
  } catch (error) {
    // wrk prints its version and exits with an error code.
    return /\d+\.\d+(\.\d+)?/.exec(String((error as { stdout?: string }).stdout))?.[0] ?? 'unknown';
  }
}

/** The versions of all software that a result may depend on. */
export function versions(postgres: string): Record<string, string> {
  const packages = ['nestjs-expiring-token', ...Object.keys(manifest('.').dependencies)];
  return {
    node: process.versions.node,
    postgres,
    redis: versionOf('redis-server', '--version'),
    wrk: versionOf('wrk', '-v'),
    ...Object.fromEntries(packages.map((name) => [name, manifest(`node_modules/${name}`).version])),
  };
}
