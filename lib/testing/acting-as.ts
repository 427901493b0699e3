import type { INestApplicationContext } from '@nestjs/common';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { IssueOptions } from '../tokens/token.interfaces.js';
import type { UserStore } from '../users/user-store.js';

/**
 * The header of a request by a user, with a token that was just issued to a new device: by the application's own service,
 * so that the guard, revoking and expiry work on it as on any other.
 *
 * @param app - the application, or the testing module
 * @param user - as the application's user store returns it
 * @param options - `lifespan` and `name` of the token, as `ExpiringTokenService.issue` takes them
 * @throws TypeError for what is no user
 * @example
 * ```ts
 * await request(app.getHttpServer()).get('/me').set(await actingAs(app, ann)).expect(200);
 * await app.inject({ url: '/me', headers: await actingAs(app, ann) });
 * ```
 */
export async function actingAs(
  app: INestApplicationContext,
  user: object,
  options: Pick<IssueOptions, 'lifespan' | 'name'> = {},
): Promise<Record<'Authorization', string>> {
  if (typeof user !== 'object' || user === null) throw new TypeError('actingAs takes the user itself, not its id.');
  const find = <T>(token: Parameters<typeof app.get<T>>[0]) => app.get<T>(token, { strict: false });
  const userId = find<UserStore>(USER_STORE).getId(user);
  const { plainText } = await find<ExpiringTokenService>(ExpiringTokenService).issue(userId, options);
  const [scheme] = find<ResolvedOptions>(RESOLVED_OPTIONS).schemes;
  return { Authorization: `${scheme} ${plainText}` };
}
