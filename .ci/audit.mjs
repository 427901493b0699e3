/**
 * Asks the registry for advisories on the locked packages, and fails if one is of high or critical severity. A registry
 * that has no advisories to ask for passes, with a warning; any other answer that is not a report fails.
 */
import { spawnSync } from 'node:child_process';

/** How a registry answers that has no such endpoint. */
const NO_ENDPOINT = [404, 405];

/** Settings of the machine that would have npm report on less than all, or on nothing, and call it clean. */
const ASK_FOR_ALL = ['--package-lock-only', '--offline=false', '--include=dev', '--include=optional', '--include=peer'];

const { status, stdout } = spawnSync('npm', ['audit', '--json', '--audit-level=high', ...ASK_FOR_ALL], {
  encoding: 'utf8',
  maxBuffer: 2 ** 26,
  stdio: ['ignore', 'pipe', 'inherit'],
});

const report = JSON.parse(stdout || '{}');
const found = report.metadata?.vulnerabilities;

if (found) {
  for (const { name, severity, range, via } of Object.values(report.vulnerabilities)) {
    const causes = via.map((cause) => cause.url ?? cause).join(', ');
    process.stdout.write(`${severity}: ${name} ${range} (${causes})\n`);
  }
  const grave = found.high + found.critical;
  process.stdout.write(`${found.total} vulnerable packages, ${grave} of high or critical severity\n`);
  process.exitCode = status === 0 && grave === 0 ? 0 : 1;
} else if (NO_ENDPOINT.includes(report.statusCode)) {
  process.stdout.write(
    `\n!!! NOT AUDITED: ${report.message}\n!!! This registry cannot be asked for advisories: whether the packages have any is not known.\n\n`,
  );
} else {
  process.stdout.write(`The audit failed: ${report.message ?? 'npm gave no report'}\n`);
  process.exitCode = 1;
}
