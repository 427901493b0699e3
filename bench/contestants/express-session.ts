import { randomBytes, randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { type CanActivate, type ExecutionContext, UnauthorizedException } from '@nestjs/common';
import connectPgSimple from 'connect-pg-simple';
import { sign } from 'cookie-signature';
import session from 'express-session';
import { Pool } from 'pg';
import type { Contestant, Credential, Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

const SECRET = 'a signing secret for the session cookies';
const LIFESPAN_MS = 30 * 86_400_000;

interface SessionUser {
  id: string;
  username: string;
}

declare module 'express-session' {
  interface SessionData {
    user: SessionUser;
  }
}

/** The session contains the user, so there is no second look-up. */
class SessionGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ session: session.SessionData; user?: SessionUser }>();
    if (!request.session.user) throw new UnauthorizedException();
    request.user = request.session.user;
    return true;
  }
}

const cookie = (sessionId: string): Credential => ({
  name: 'Cookie',
  value: `connect.sid=${encodeURIComponent(`s:${sign(sessionId, SECRET)}`)}`,
});
const generateSessionId = () => randomBytes(24).toString('base64url');

/** Sessions in PostgreSQL, configured as in the documentation of both packages. */
export function expressSession({ postgresUrl }: Setting): Contestant {
  const store = new (connectPgSimple(session))({
    pool: new Pool({ connectionString: postgresUrl }),
    createTableIfMissing: true,
  });
  return {
    module: { controllers: [guardedBy(new SessionGuard())] },
    prepare(app) {
      const options = { secret: SECRET, resave: false, saveUninitialized: false, cookie: { maxAge: LIFESPAN_MS } };
      app.use(session({ store, ...options }));
    },
    async logIn(_app, userCount) {
      const save = promisify(store.set.bind(store));
      const valid = [];
      for (let index = 0; index < userCount; index++) {
        const sessionId = generateSessionId();
        const user = { id: randomUUID(), username: `user-${index}` };
        const expires = new Date(Date.now() + LIFESPAN_MS);
        await save(sessionId, { cookie: { originalMaxAge: LIFESPAN_MS, expires, path: '/', httpOnly: true }, user });
        valid.push({ userId: user.id, credential: cookie(sessionId) });
      }
      return { valid, invalid: cookie(generateSessionId()) };
    },
  };
}
