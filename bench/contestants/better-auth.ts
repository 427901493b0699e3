import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { type CanActivate, type ExecutionContext, UnauthorizedException } from '@nestjs/common';
import { betterAuth } from 'better-auth';
import { getMigrations } from 'better-auth/db/migration';
import { fromNodeHeaders } from 'better-auth/node';
import { bearer as bearerPlugin } from 'better-auth/plugins';
import { Pool } from 'pg';
import { bearer, type Contestant, type Credential, type Setting } from './contestant.js';
import { guardedBy } from './me.controller.js';

const LIFESPAN_SECONDS = 30 * 86_400;

const optionsOf = (postgresUrl: string, cookieCache: boolean) => ({
  database: new Pool({ connectionString: postgresUrl }),
  secret: 'a signing secret of at least 32 bytes for the benchmark',
  baseURL: 'http://localhost',
  telemetry: { enabled: false },
  rateLimit: { enabled: false },
  plugins: [bearerPlugin()],
  session: {
    expiresIn: LIFESPAN_SECONDS,
    // The benchmark does not renew the cookie, so it must outlive the run.
    cookieCache: { enabled: cookieCache, maxAge: LIFESPAN_SECONDS },
  },
  // Password hashing is not part of the measurement.
  emailAndPassword: {
    enabled: true,
    password: { hash: async (password: string) => password, verify: async () => true },
  },
  advanced: { database: { generateId: () => randomUUID() }, useSecureCookies: false },
});

type Auth = ReturnType<typeof betterAuth<ReturnType<typeof optionsOf>>>;

class BetterAuthGuard implements CanActivate {
  constructor(private readonly auth: Auth) {}

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = context.switchToHttp().getRequest<{ headers: IncomingHttpHeaders; user?: unknown }>();
    const session = await this.auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
    if (!session) throw new UnauthorizedException();
    request.user = session.user;
    return true;
  }
}

const cookiesSetBy = (headers: Headers): Credential => ({
  name: 'Cookie',
  value: headers
    .getSetCookie()
    .map((cookie) => cookie.split(';', 1)[0])
    .join('; '),
});

const tokenSetBy = (headers: Headers): Credential => bearer(headers.get('set-auth-token') ?? '');

function contestant(
  postgresUrl: string,
  cookieCache: boolean,
  credentialSetBy: (headers: Headers) => Credential,
): Contestant {
  const options = optionsOf(postgresUrl, cookieCache);
  const auth: Auth = betterAuth(options);
  return {
    module: { controllers: [guardedBy(new BetterAuthGuard(auth))] },
    async logIn(_app, userCount) {
      await (await getMigrations(options)).runMigrations();
      const signUp = async (name: string) => {
        const body = { name, email: `${name}@example.com`, password: 'any password' };
        const { headers, response } = await auth.api.signUpEmail({ body, returnHeaders: true });
        return { userId: response.user.id, credential: credentialSetBy(headers) };
      };
      const valid = [];
      for (let index = 0; index < userCount; index++) valid.push(await signUp(`user-${index}`));
      const loggedOut = await signUp('logged-out');
      await options.database.query('DELETE FROM session WHERE "userId" = $1', [loggedOut.userId]);
      return { valid, invalid: withoutCache(loggedOut.credential) };
    },
  };
}

/**
 * Removes the session cache from a cookie. While the cache is valid, better-auth accepts it even if the session was deleted;
 * without it, better-auth queries the database and rejects the session.
 */
const withoutCache = ({ name, value }: Credential): Credential => ({
  name,
  value: value.replace(/[^ ]*session_data=[^;]*;? ?/, ''),
});

export const betterAuthBearer = ({ postgresUrl }: Setting): Contestant => contestant(postgresUrl, false, tokenSetBy);

/** The session is stored in a signed cookie. The database is not queried until the cookie expires. */
export const betterAuthCookieCache = ({ postgresUrl }: Setting): Contestant =>
  contestant(postgresUrl, true, cookiesSetBy);
