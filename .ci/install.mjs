import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

const INSTALL_MS = 300_000;

/** Runs `npm install` in a directory. Retries once, because a slow network can make the installation hang. */
export async function install(cwd, ...parameters) {
  const once = () =>
    promisify(execFile)('npm', ['install', '--no-audit', '--no-fund', ...parameters], { cwd, timeout: INSTALL_MS });
  await once().catch(once);
}
