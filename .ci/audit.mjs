/**
 * Audits the locked packages against the advisories of the registry. Fails if one has high or critical severity. Passes with
 * a warning if the registry has no audit endpoint. Fails if the response is anything else than a report.
 */
import { spawnSync } from 'node:child_process';

/** Status codes of a registry without an audit endpoint. */
const NO_ENDPOINT_STATUSES = [404, 405];

/** Overrides npm settings of the machine that would exclude packages from the audit and so hide advisories. */
const FULL_AUDIT_FLAGS = [
  '--package-lock-only',
  '--offline=false',
  '--include=dev',
  '--include=optional',
  '--include=peer',
];

const { status, stdout } = spawnSync('npm', ['audit', '--json', '--audit-level=high', ...FULL_AUDIT_FLAGS], {
  encoding: 'utf8',
  maxBuffer: 2 ** 26,
  stdio: ['ignore', 'pipe', 'inherit'],
});

const report = JSON.parse(stdout || '{}');
const counts = report.metadata?.vulnerabilities;

if (counts) {
  for (const { name, severity, range, via } of Object.values(report.vulnerabilities)) {
    const causes = via.map((cause) => cause.url ?? cause).join(', ');
    process.stdout.write(`${severity}: ${name} ${range} (${causes})\n`);
  }
  const severe = counts.high + counts.critical;
  process.stdout.write(`${counts.total} vulnerable packages, ${severe} of high or critical severity\n`);
  process.exitCode = status === 0 && severe === 0 ? 0 : 1;
} else if (NO_ENDPOINT_STATUSES.includes(report.statusCode)) {
  process.stdout.write(
    `\n!!! NOT AUDITED: ${report.message}\n!!! This registry has no audit endpoint: it is unknown whether the packages have advisories.\n\n`,
  );
} else {
  process.stdout.write(`The audit failed: ${report.message ?? 'npm returned no report'}\n`);
  process.exitCode = 1;
}
