import { createHash } from 'node:crypto';
import { inspect } from 'node:util';
import {
  ExpiringTokenException,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  ExpiringTokenService,
  Token,
  User,
  UserService,
} from 'nestjs-expiring-token';
import { describe, expect, it } from 'vitest';
import { USER_STORE } from '../lib/expiring-token.constants.js';
import { onEveryDatabase, PASSWORD } from './fixtures/app.js';

const SECRET = 'a secret of thirty-two bytes, or more';

describe('An object of the package, printed with util.inspect,', () => {
  onEveryDatabase((environment) => {
    it('shows no option value, digest, password hash or token', async () => {
      const app = await environment.boot({ options: { refresh: {}, secret: SECRET } });
      const user = await app.createUser();
      const { token, refreshToken } = (await app.login(user.username)).json;
      const obtained = await app.tokens.obtain(user.id);
      const authentication = await app.tokens.authenticate(token);
      const refusals = await Promise.all(
        [
          () => app.tokens.authenticate(`${token.slice(0, -1)}~`),
          () => app.tokens.authenticate(refreshToken),
          () => app.tokens.refresh(token),
          () => app.users.create(user.username, PASSWORD),
          () => app.tokens.rename(user.id, 'x', PASSWORD),
        ].map((fail) => fail().catch((error: unknown) => error)),
      );
      await app.dataSource.query('ALTER TABLE auth_token RENAME TO away');
      refusals.push(await app.tokens.authenticate(token).catch((error: unknown) => error));
      await app.dataSource.query('ALTER TABLE away RENAME TO auth_token');
      expect(refusals.filter((error) => error instanceof ExpiringTokenException)).toHaveLength(5);
      const shown = [
        ...[ExpiringTokenService, UserService, ExpiringTokenModule, USER_STORE].map((key) => app.nest.get(key)),
        obtained.token,
        authentication,
        user,
        await app.dataSource.getRepository(Token).find(),
        await app.dataSource.getRepository(User).find(),
        ...refusals,
      ];
      const digests = [token, refreshToken, obtained.plainText].map((secret) =>
        createHash('sha256').update(String(secret)).digest(),
      );
      for (const [index, object] of shown.entries()) {
        for (const text of [inspect(object, { depth: 20, showHidden: true }), String(object)]) {
          for (const secret of [
            token,
            refreshToken,
            obtained.plainText,
            PASSWORD,
            SECRET,
            '$argon2id$',
            'postgres://',
          ]) {
            expect(text, `object ${index}`).not.toContain(secret);
          }
          for (const digest of digests) {
            expect(text, `object ${index}`).not.toContain(digest.toString('hex'));
            expect(text, `object ${index}`).not.toContain(inspect(digest).slice(8, -1));
          }
        }
      }
      expect(inspect(app.tokens)).toBe('ExpiringTokenService {}');
      expect(inspect(Object.create(ExpiringTokenGuard.prototype))).toBe('ExpiringTokenGuard {}');
    });
  });
});
