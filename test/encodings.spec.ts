import { DataSource } from 'typeorm';
import { describe, expect, it } from 'vitest';
import { onEveryDatabase, PASSWORD, type TestApp, type TestEnvironment, warnings } from './fixtures/app.js';

/** Calls a test with an application whose database, or whose columns of text, have an encoding with few characters. */
async function inLatin1(environment: TestEnvironment, test: (app: TestApp) => Promise<void>) {
  const options = { refresh: {}, loginThrottle: false } as const;
  const admin = await new DataSource(environment.databaseOptions).initialize();
  try {
    if (environment.databaseName === 'mariadb') {
      const app = await environment.boot({ options });
      await admin.query('ALTER TABLE auth_token MODIFY name varchar(255) CHARACTER SET latin1 NULL');
      await admin.query('ALTER TABLE auth_token MODIFY user_agent varchar(255) CHARACTER SET latin1 NULL');
      await test(app);
      return;
    }
    const url = new URL(environment.url);
    const name = `${url.pathname.slice(1)}_latin1`;
    await admin.query(`CREATE DATABASE "${name}" ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0`);
    url.pathname = `/${name}`;
    try {
      await test(await environment.boot({ options, typeOrm: { url: url.href } }));
    } finally {
      await environment.closeApplications();
      await admin.query(`DROP DATABASE "${name}" WITH (FORCE)`);
    }
  } finally {
    await admin.destroy();
  }
}

describe('A database with an encoding of its own', () => {
  onEveryDatabase(
    (environment) => {
      it('has no user of a name that it cannot store, and creates none', () =>
        inLatin1(environment, async (app) => {
          await app.users.create('José', PASSWORD);
          const before = warnings.length;
          const nobody = await app.login('nobody');
          for (const username of ['名', '😀', 'Jose\u0301']) {
            expect(await app.login(username), username).toMatchObject({ status: 401, text: nobody.text });
            await expect(app.users.create(username, PASSWORD), username).rejects.toMatchObject({
              code: 'validation_failed',
              message: 'username contains a character that the database cannot store',
            });
          }
          expect((await app.login('José')).status).toBe(200);
          expect(warnings.slice(before)).toEqual([]);
        }));
    },
    ['postgres'],
  );

  onEveryDatabase(
    (environment) => {
      it('stores a device without the name or the user agent that it cannot store', () =>
        inLatin1(environment, async (app) => {
          const { id: userId, username } = await app.createUser();
          const before = warnings.length;
          const [ok, odd] = ['Jos\u00e9', 'Jos\u00e9 📱'];
          for (const [name, userAgent] of [
            [ok, ok],
            [odd, ok],
            [ok, odd],
            [odd, odd],
          ] as const) {
            const stored = { name: name === ok ? ok : null, userAgent: userAgent === ok ? ok : null };
            const { token } = await app.tokens.issue(userId, { name, userAgent });
            expect(token).toMatchObject(stored);
            for (const route of ['login', 'obtain-token']) {
              const response = await app.send(`/auth/${route}`, {
                method: 'POST',
                headers: [['User-Agent', Buffer.from(userAgent).toString('latin1')]],
                body: { username, password: PASSWORD, deviceName: name },
              });
              expect(response.status, route).toBe(200);
              const devices = await app.tokens.list(userId);
              expect(devices.find(({ id }) => id === response.json.deviceId)).toMatchObject(stored);
            }
          }
          expect(warnings.slice(before)).toEqual([]);
        }));

      it('rejects such a name of a device with 400', () =>
        inLatin1(environment, async (app) => {
          const { id: userId } = await app.createUser();
          const { token } = await app.tokens.issue(userId, { name: 'phone' });
          await expect(app.tokens.rename(userId, token.deviceId, '📱')).rejects.toMatchObject({
            code: 'validation_failed',
            message: 'name contains a character that the database cannot store',
          });
          expect((await app.tokens.list(userId))[0]!.name).toBe('phone');
        }));

      it('repeats a refresh for the same such user agent, and for no other', () =>
        inLatin1(environment, async (app) => {
          const { username } = await app.createUser();
          const { refreshToken } = (await app.login(username)).json;
          const refresh = async (userAgent: string) =>
            app.send('/auth/refresh', {
              method: 'POST',
              headers: [['User-Agent', Buffer.from(userAgent).toString('latin1')]],
              body: { refreshToken },
            });
          const first = await refresh('Browser 📱');
          expect(first.status).toBe(200);
          expect((await refresh('Browser 📱')).json).toMatchObject({ refreshToken: first.json.refreshToken });
          expect((await refresh('Browser')).status).toBe(401);
        }));
    },
    ['postgres', 'mariadb'],
  );
});
