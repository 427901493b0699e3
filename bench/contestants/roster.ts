import type { Adapter, Contestant, Setting } from './contestant.js';

/** A contestant. Only the process that runs it loads its code. */
interface Entry {
  title: string;
  adapters: readonly Adapter[];
  load(): Promise<(setting: Setting) => Contestant>;
}

const BOTH: readonly Adapter[] = ['express', 'fastify'];
const EXPRESS: readonly Adapter[] = ['express'];

export const ROSTER = {
  'no-guard': {
    title: 'no guard',
    adapters: BOTH,
    load: async () => (await import('./no-guard.js')).noGuard,
  },
  'jwt-documented': {
    title: 'passport-jwt, HS256, as documented',
    adapters: BOTH,
    load: async () => (await import('./passport-jwt.js')).documentedJwt,
  },
  'jwt-tuned': {
    title: 'passport-jwt, HS256, secret as a `KeyObject`',
    adapters: BOTH,
    load: async () => (await import('./passport-jwt.js')).tunedJwt,
  },
  'naive-port': {
    title: 'DRF tutorial, ported by hand: passport, `findOne` with the user, PostgreSQL',
    adapters: EXPRESS,
    load: async () => (await import('./naive-port.js')).naivePort,
  },
  'express-session': {
    title: 'express-session with connect-pg-simple',
    adapters: EXPRESS,
    load: async () => (await import('./express-session.js')).expressSession,
  },
  'better-auth': {
    title: 'better-auth, bearer, PostgreSQL',
    adapters: EXPRESS,
    load: async () => (await import('./better-auth.js')).betterAuthBearer,
  },
  'better-auth-cookie-cache': {
    title: 'better-auth, cookie cache, no database query',
    adapters: EXPRESS,
    load: async () => (await import('./better-auth.js')).betterAuthCookieCache,
  },
  'prepared-join': {
    title: 'one prepared join in a bare guard, PostgreSQL',
    adapters: BOTH,
    load: async () => (await import('./prepared-join.js')).preparedJoin,
  },
  'prepared-join-sqlite': {
    title: 'one prepared join in a bare guard, SQLite file',
    adapters: BOTH,
    load: async () => (await import('./prepared-join.js')).preparedJoinOnSqlite,
  },
  ours: {
    title: '**ours, no cache, PostgreSQL**',
    adapters: BOTH,
    load: async () => (await import('./ours.js')).ours,
  },
  'ours-through-passport': {
    title: "ours, no cache, PostgreSQL, `AuthGuard('expiring-token')`",
    adapters: BOTH,
    load: async () => (await import('./ours.js')).oursThroughPassport,
  },
  'ours-sqlite': {
    title: '**ours, no cache, SQLite file**',
    adapters: BOTH,
    load: async () => (await import('./ours.js')).oursOnSqlite,
  },
  'ours-cached': {
    title: "**ours, `cache: { ttl: '10s' }`, PostgreSQL**",
    adapters: BOTH,
    load: async () => (await import('./ours.js')).oursCached,
  },
  'ours-last-use': {
    title: 'ours, no cache, PostgreSQL, last use written each minute, with `idle`',
    adapters: BOTH,
    load: async () => (await import('./ours.js')).oursWithLastUse,
  },
  'ours-no-last-use': {
    title: 'ours, no cache, PostgreSQL, last use never written',
    adapters: BOTH,
    load: async () => (await import('./ours.js')).oursWithoutLastUse,
  },
} satisfies Record<string, Entry>;

export type ContestantName = keyof typeof ROSTER;

export const CONTESTANT_NAMES = Object.keys(ROSTER) as ContestantName[];
