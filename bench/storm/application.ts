import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { bearer, type Contestant, type LoggedInUser, type Setting } from '../contestants/contestant.js';
import { oursWith, postgres } from '../contestants/ours.js';
import { PASSWORD, usernameOf } from './credentials.js';

async function logIn(app: INestApplication, index: number): Promise<LoggedInUser> {
  const { id: userId } = await app.get(UserService).create(usernameOf(index), PASSWORD);
  const { plainText } = await app.get(ExpiringTokenService).issue(userId);
  return { userId, credential: bearer(plainText) };
}

/** An application whose users have passwords. It trusts the proxy header, by which each client has a different address. */
export const application = (setting: Setting): Contestant => ({
  ...oursWith(postgres(setting)),
  prepare: (app) => (app as NestExpressApplication).set('trust proxy', true),
  async logIn(app, userCount) {
    const valid: LoggedInUser[] = [];
    for (let index = 0; index < userCount; index++) valid.push(await logIn(app, index));
    return { valid };
  },
});
