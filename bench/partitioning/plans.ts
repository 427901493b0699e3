import { Client } from 'pg';
import type { SentStatement } from '../scale/statement.js';

/** A node of a plan in JSON. */
interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Loops'?: number;
  Plans?: PlanNode[];
}

/** How often PostgreSQL plans a prepared statement for its values before it considers one plan for all values. */
const CUSTOM_PLANS = 5;

/** A value that the package sends. */
type SqlValue = string | number | Buffer | null | readonly SqlValue[];

function literal(client: Client, value: SqlValue): string {
  if (value === null) return 'NULL';
  if (Buffer.isBuffer(value)) return `'\\x${value.toString('hex')}'`;
  if (typeof value === 'string') return client.escapeLiteral(value);
  return typeof value === 'number' ? String(value) : client.escapeLiteral(`{${value.join(',')}}`);
}

const nodesOf = (node: PlanNode): PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

/** The names of the tables of tokens that a plan reads. */
function scanned(plan: PlanNode): string[] {
  const scans = nodesOf(plan).filter((node) => node['Node Type'].endsWith('Scan') && (node['Actual Loops'] ?? 0) > 0);
  const relations = scans.map((node) => node['Relation Name']).filter((name) => name?.startsWith('auth_token'));
  return [...new Set(relations as string[])];
}

/** How many partitions a prepared statement reads, when it is executed for the seventh time. Nothing is changed. */
export async function partitionsRead(url: string, { sql, values }: SentStatement): Promise<number> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query('BEGIN');
    await client.query(`PREPARE explained AS ${sql}`);
    const list = values.map((value) => literal(client, value as SqlValue)).join(', ');
    const execute = `EXECUTE explained${list === '' ? '' : `(${list})`}`;
    // Each execution is undone, so that the next one finds the same rows.
    for (let execution = 0; execution <= CUSTOM_PLANS; execution++) {
      await client.query('SAVEPOINT before');
      await client.query(execute);
      await client.query('ROLLBACK TO before');
    }
    const { rows } = await client.query(`EXPLAIN (ANALYZE, FORMAT JSON) ${execute}`);
    return scanned((rows[0]['QUERY PLAN'] as [{ Plan: PlanNode }])[0].Plan).length;
  } finally {
    await client.query('ROLLBACK');
    await client.end();
  }
}
