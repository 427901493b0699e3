import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestProject } from 'vitest/node';
import { captureIn } from '../fixtures/captured-output.js';

/** Builds the sample application as `npm start` does, once for all specs. */
export default function setup(project: TestProject): () => void {
  execFileSync('npx', ['nest', 'build'], { stdio: 'inherit' });
  const directory = mkdtempSync(join(tmpdir(), 'ext_browser_'));
  project.provide('servers', []);
  project.provide('missingServers', {});
  project.provide('directory', directory);
  captureIn(directory);
  return () => rmSync(directory, { recursive: true, force: true });
}
