import type { User } from 'nestjs-expiring-token';
import { beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { DATABASE } from '../lib/expiring-token.constants.js';
import { UserService } from '../lib/index.js';
import { TokenEvents } from '../lib/tokens/events/token.events.js';
import { onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';
import { seedTokens } from './fixtures/seed-tokens.js';

const DEVICES = 31_000;
const EXCHANGED = 21_000;

/** Databases need about two seconds for a hundred thousand rows: as one transaction, their deletion would never end in time. */
describe('A user with more tokens than one transaction can delete', { timeout: 120_000 }, () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    let limited: TestApp;
    let user: User;
    let own: { token: string; deviceId: string };
    beforeAll(async () => {
      app = await environment.boot({ options: { refresh: {} } });
      const limit = { perUser: 3, policy: 'evict' } as const;
      limited = await environment.boot({ options: { refresh: {}, limit }, clock: app.clock });
    });
    beforeEach(async () => {
      vi.restoreAllMocks();
      user = await app.createUser();
      own = (await app.post('/auth/login', { username: user.username, password: PASSWORD })).json;
      const { deviceId } = (await app.tokens.issue(user.id)).token;
      const seed = { userId: user.id, newest: app.clock.now - 1 };
      await seedTokens(app.dataSource, environment.databaseName, { ...seed, purpose: 'access', rows: DEVICES });
      await seedTokens(app.dataSource, environment.databaseName, {
        ...seed,
        purpose: 'rotated',
        rows: EXCHANGED,
        deviceId,
      });
    });

    /** The transactions and the revoked devices of what an application does. */
    function observe({ nest }: TestApp) {
      const transactions = vi.spyOn(nest.get(DATABASE), 'transaction');
      const emitted = vi.spyOn(nest.get(TokenEvents), 'emit');
      const revoked = () =>
        emitted.mock.calls.flatMap(([name, payload]) =>
          name === 'expiring-token.revoked' ? [(payload as { deviceId: string }).deviceId] : [],
        );
      return {
        committed: () => transactions.mock.results.length,
        revoked: () => ({ events: revoked().length, devices: new Set(revoked()).size }),
      };
    }

    it('can end all devices but one, in several transactions', async () => {
      const { committed, revoked } = observe(app);
      const { json } = await app.post('/auth/logout-all', { keepCurrent: true }, own.token);
      expect(json).toEqual({ revoked: DEVICES + 1 });
      expect(revoked()).toEqual({ events: DEVICES + 1, devices: DEVICES + 1 });
      expect(committed()).toBeGreaterThanOrEqual(3);
      expect((await app.tokens.list(user.id)).map(({ id }) => id)).toEqual([own.deviceId]);
    });

    it.each<[string, (users: UserService) => Promise<boolean>]>([
      ['changePassword', (users) => users.changePassword(user.id, 'another password')],
      ['setActive', (users) => users.setActive(user.id, false, { revoke: true })],
      ['delete', (users) => users.delete(user.id)],
    ])('loses all of them by %s', async (_, change) => {
      const { committed, revoked } = observe(app);
      expect(await change(app.nest.get(UserService))).toBe(true);
      expect(revoked()).toEqual({ events: DEVICES + 2, devices: DEVICES + 2 });
      expect(committed()).toBeGreaterThanOrEqual(3);
      expect(await app.tokens.list(user.id)).toEqual([]);
    });

    it('can log in although a lower limit of devices has to end most of them first', async () => {
      const { committed, revoked } = observe(limited);
      const { access } = await limited.tokens.logIn(user.id);
      expect(revoked()).toEqual({ events: DEVICES, devices: DEVICES });
      expect(committed()).toBeGreaterThanOrEqual(3);
      const devices = (await app.tokens.list(user.id)).map(({ id }) => id);
      expect(devices).toHaveLength(3);
      expect(devices).toContain(access.token.deviceId);
    });
  });
});
