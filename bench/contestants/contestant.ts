import type { INestApplication, ModuleMetadata } from '@nestjs/common';

export type Adapter = 'express' | 'fastify';

/** The environment of a contestant. */
export interface Setting {
  adapter: Adapter;
  /** A database that no other contestant uses. */
  postgresUrl: string;
  /** Path of a SQLite file that does not exist yet and that no other contestant uses. */
  sqliteFile: string;
  redisUrl?: string;
}

/** The header that authenticates a request. */
export interface Credential {
  name: 'Authorization' | 'Cookie';
  value: string;
}

/** A user with a credential that the application must accept. */
export interface LoggedInUser {
  userId: string;
  credential: Credential;
}

/** The logged-in users, and a credential that is well-formed but must be rejected. */
export interface Logins {
  valid: LoggedInUser[];
  /** Undefined if the contestant rejects nothing. */
  invalid?: Credential;
}

/** A way to authenticate requests, in an application whose route `GET /me` returns the id of the user. */
export interface Contestant {
  module: ModuleMetadata;
  /** Called before the application listens. */
  prepare?(app: INestApplication): void;
  logIn(app: INestApplication, userCount: number): Promise<Logins>;
  /** Called before each round, to put the database into the state that a steady load would leave. */
  prepareRound?(app: INestApplication): Promise<void>;
}

export const bearer = (token: string): Credential => ({ name: 'Authorization', value: `Bearer ${token}` });
