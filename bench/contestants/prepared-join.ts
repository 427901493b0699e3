import { createHash, randomBytes, randomUUID } from 'node:crypto';
import { type CanActivate, type ExecutionContext, UnauthorizedException } from '@nestjs/common';
import Sqlite from 'better-sqlite3';
import { Pool } from 'pg';
import { bearer, type Contestant, type Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

const LIFESPAN_MS = 30 * 86_400_000;

interface JoinedRow {
  id: string;
  username: string;
  active: boolean | number;
  created: number | string;
}

/** Hand-written tables and the look-up of a digest in them. */
interface Tables {
  create(): Promise<void>;
  insertUser(id: string, username: string): Promise<void>;
  insertToken(digest: Buffer, userId: string, createdMs: number): Promise<void>;
  find(digest: Buffer): Promise<JoinedRow | undefined> | JoinedRow | undefined;
}

const digestOf = (token: string) => createHash('sha256').update(token).digest();
const generateToken = () => randomBytes(32).toString('base64url');

/** The minimum work of a guard with a database: one digest and one prepared statement for each request, without Passport. */
class BareGuard implements CanActivate {
  constructor(private readonly tables: Tables) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<{ headers: { authorization?: string }; user?: unknown }>();
    const { authorization } = request.headers;
    if (!authorization?.startsWith('Bearer ')) throw new UnauthorizedException();
    const row = await this.tables.find(digestOf(authorization.slice(7)));
    if (!row?.active || Number(row.created) + LIFESPAN_MS <= Date.now()) throw new UnauthorizedException();
    request.user = { id: row.id, username: row.username };
    return true;
  }
}

function contestant(tables: Tables): Contestant {
  return {
    module: { controllers: [guardedBy(new BareGuard(tables))] },
    async logIn(_app, userCount) {
      await tables.create();
      const valid = [];
      for (let index = 0; index < userCount; index++) {
        const userId = randomUUID();
        const token = generateToken();
        await tables.insertUser(userId, `user-${index}`);
        await tables.insertToken(digestOf(token), userId, Date.now());
        valid.push({ userId, credential: bearer(token) });
      }
      return { valid, invalid: bearer(generateToken()) };
    },
  };
}

const joinedBy = (placeholder: string) =>
  'SELECT bare_user.id, username, active, created FROM bare_token' +
  ` JOIN bare_user ON bare_user.id = user_id WHERE digest = ${placeholder}`;

export function preparedJoin({ postgresUrl }: Setting): Contestant {
  const pool = new Pool({ connectionString: postgresUrl });
  return contestant({
    async create() {
      await pool.query(
        'CREATE TABLE bare_user (id uuid PRIMARY KEY, username text UNIQUE, active boolean DEFAULT true)',
      );
      await pool.query('CREATE TABLE bare_token (digest bytea PRIMARY KEY, user_id uuid, created bigint)');
    },
    async insertUser(id, username) {
      await pool.query('INSERT INTO bare_user (id, username) VALUES ($1, $2)', [id, username]);
    },
    async insertToken(digest, userId, createdMs) {
      await pool.query('INSERT INTO bare_token VALUES ($1, $2, $3)', [digest, userId, createdMs]);
    },
    async find(digest) {
      // PostgreSQL prepares a named statement once per connection.
      const { rows } = await pool.query<JoinedRow>({ name: 'find', text: joinedBy('$1'), values: [digest] });
      return rows[0];
    },
  });
}

export function preparedJoinOnSqlite({ sqliteFile }: Setting): Contestant {
  const database = new Sqlite(sqliteFile);
  database.pragma('journal_mode = WAL');
  database.exec('CREATE TABLE bare_user (id TEXT PRIMARY KEY, username TEXT UNIQUE, active INTEGER DEFAULT 1)');
  database.exec('CREATE TABLE bare_token (digest BLOB PRIMARY KEY, user_id TEXT, created INTEGER) WITHOUT ROWID');
  const join = database.prepare<[Buffer], JoinedRow>(joinedBy('?'));
  return contestant({
    create: async () => undefined,
    async insertUser(id, username) {
      database.prepare('INSERT INTO bare_user (id, username) VALUES (?, ?)').run(id, username);
    },
    async insertToken(digest, userId, createdMs) {
      database.prepare('INSERT INTO bare_token VALUES (?, ?, ?)').run(digest, userId, createdMs);
    },
    find: (digest) => join.get(digest),
  });
}
