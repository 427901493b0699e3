import type { INestApplicationContext } from '@nestjs/common';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { IssueOptions } from '../tokens/token.interfaces.js';
import type { UserStore } from '../users/user-store.js';

/**
 * Issues a token to a new device of a user, and returns the header of a request with it. The application's own service issues
 * it, so the guard, revocation and expiry apply to it as to any other token.
 *
 * @param app - the application, or the testing module
 * @param user - the user, as the application's user store returns it
 * @param options - `lifespan`, `name` and `scopes` of the token, as `ExpiringTokenService.issue` takes them
 * @returns headers for supertest or for `app.inject`
 * @throws TypeError if `user` is not an object, for example an id
 * @example
 * ```ts
 * await request(app.getHttpServer()).get('/me').set(await actingAs(app, ann)).expect(200);
 * await app.inject({ url: '/me', headers: await actingAs(app, ann, { scopes: ['notes:read'] }) });
 * ```
 */
export async function actingAs(
  app: INestApplicationContext,
  user: object,
  options: Pick<IssueOptions, 'lifespan' | 'name' | 'scopes'> = {},
): Promise<Record<'Authorization', string>> {
  if (typeof user !== 'object' || user === null) throw new TypeError('actingAs takes the user itself, not its id.');
  const get = <T>(token: Parameters<typeof app.get<T>>[0]) => app.get<T>(token, { strict: false });
  const userId = get<UserStore>(USER_STORE).getId(user);
  const { plainText } = await get<ExpiringTokenService>(ExpiringTokenService).issue(userId, options);
  const [scheme] = get<ResolvedOptions>(RESOLVED_OPTIONS).schemes;
  return { Authorization: `${scheme} ${plainText}` };
}
