/** What one operation costs, apart from the HTTP request around it. */
export interface Cost {
  /** CPU time of the Node process, in microseconds. */
  nodeUs: number;
  /** CPU time of the database server, in microseconds. */
  databaseUs: number;
  /** Round trips to the database: statements, and `BEGIN` and `COMMIT`. */
  statements: number;
}

/** Disk space, in bytes per row. */
export interface RowBytes {
  table: number;
  indexes: number;
}

/** The constants that were measured on one database. */
export interface Costs {
  /** When, and on which versions. */
  measured: string;
  /** The command that measured them. */
  command: string;
  /** Length of the user agent of the measured tokens, in bytes. */
  userAgentLength: number;
  /** A row of `auth_token`, after the last uses of all tokens were written again and again. */
  token: RowBytes;
  /** A row of `auth_user`. */
  user: RowBytes;
  /** A guarded request whose token is looked up by a statement of its own. */
  lookUp: Cost;
  /** A guarded request whose token is looked up together with those of 31 other requests. */
  lookUpOf32: Cost;
  /** A guarded request whose token is cached. */
  cacheHit: Cost;
  /** A last use that is stored in a transaction of its own. */
  lastUse: Cost;
  /** A last use that is stored together with those of many other tokens. */
  lastUseOfMany: Cost;
  /** A login without the hash of the password. */
  login: Cost;
  /** A new user with a password: the time of Node is nearly all for the hash. */
  hash: Cost;
  refresh: Cost;
  logout: Cost;
  /** A token that is pruned. */
  prune: Cost;
}

/** The databases that have constants. */
export type ServerName = 'postgres' | 'mariadb';

export type AllCosts = Record<ServerName, Costs>;
