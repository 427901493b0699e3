import type { INestApplication, ModuleMetadata } from '@nestjs/common';

export type Adapter = 'express' | 'fastify';

/** Where a contestant runs. */
export interface Setting {
  adapter: Adapter;
  /** A database of its own. */
  postgresUrl: string;
  /** A file of its own, which is not there yet. */
  sqliteFile: string;
  redisUrl?: string;
}

/** The one header that says who sends a request. */
export interface Credential {
  name: 'Authorization' | 'Cookie';
  value: string;
}

/** Somebody whose requests are to be answered. */
export interface LoggedIn {
  userId: string;
  credential: Credential;
}

/** Those who are logged in, and what a request carries that must be refused: as well formed as theirs. */
export interface Logins {
  right: LoggedIn[];
  /** Left out where nothing is refused. */
  wrong?: Credential;
}

/** A way to know who sent a request, in an application whose route `GET /me` answers with the id of the user. */
export interface Contestant {
  module: ModuleMetadata;
  /** Called before the application listens. */
  prepare?(app: INestApplication): void;
  logIn(app: INestApplication, userCount: number): Promise<Logins>;
  /** Called before each round, for what a steady load would have left behind. */
  settle?(app: INestApplication): Promise<void>;
}

export const bearer = (token: string): Credential => ({ name: 'Authorization', value: `Bearer ${token}` });
