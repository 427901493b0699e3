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
  secret: 'a secret of at least 32 bytes, which signs what is sent',
  baseURL: 'http://localhost',
  telemetry: { enabled: false },
  rateLimit: { enabled: false },
  plugins: [bearerPlugin()],
  session: {
    expiresIn: LIFESPAN_SECONDS,
    // The cookie is not renewed here, and must outlive the run.
    cookieCache: { enabled: cookieCache, maxAge: LIFESPAN_SECONDS },
  },
  // Nobody's password is measured.
  emailAndPassword: { enabled: true, password: { hash: async (given: string) => given, verify: async () => true } },
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

function contestant(postgresUrl: string, cookieCache: boolean, keep: (headers: Headers) => Credential): Contestant {
  const options = optionsOf(postgresUrl, cookieCache);
  const auth: Auth = betterAuth(options);
  return {
    module: { controllers: [guardedBy(new BetterAuthGuard(auth))] },
    async logIn(_app, userCount) {
      await (await getMigrations(options)).runMigrations();
      const signUp = async (name: string) => {
        const body = { name, email: `${name}@example.com`, password: 'any password' };
        const { headers, response } = await auth.api.signUpEmail({ body, returnHeaders: true });
        return { userId: response.user.id, credential: keep(headers) };
      };
      const right = [];
      for (let index = 0; index < userCount; index++) right.push(await signUp(`user-${index}`));
      const loggedOut = await signUp('logged-out');
      await options.database.query('DELETE FROM session WHERE "userId" = $1', [loggedOut.userId]);
      return { right, wrong: uncached(loggedOut.credential) };
    },
  };
}

/** While it lasts, what is cached is good though the session was ended: only without it the database is asked. */
const uncached = ({ name, value }: Credential): Credential => ({
  name,
  value: value.replace(/[^ ]*session_data=[^;]*;? ?/, ''),
});

export const betterAuthBearer = ({ postgresUrl }: Setting): Contestant => contestant(postgresUrl, false, tokenSetBy);

/** The session is in a signed cookie, and the database is not asked until that ends. */
export const betterAuthCookieCache = ({ postgresUrl }: Setting): Contestant =>
  contestant(postgresUrl, true, cookiesSetBy);
