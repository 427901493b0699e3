import type { INestApplication } from '@nestjs/common';
import type { NestExpressApplication } from '@nestjs/platform-express';
import { ExpiringTokenService, UserService } from 'nestjs-expiring-token';
import { bearer, type Contestant, type LoggedIn, type Setting } from '../contestants/contestant.js';
import { oursWith, postgres } from '../contestants/ours.js';
import { PASSWORD, usernameOf } from './credentials.js';

async function logIn(app: INestApplication, index: number): Promise<LoggedIn> {
  const { id: userId } = await app.get(UserService).create(usernameOf(index), PASSWORD);
  const { plainText } = await app.get(ExpiringTokenService).issue(userId);
  return { userId, credential: bearer(plainText) };
}

/** Its users have passwords, and each comes from another address, as the proxy before it says. */
export const application = (setting: Setting): Contestant => ({
  ...oursWith(postgres(setting)),
  prepare: (app) => (app as NestExpressApplication).set('trust proxy', true),
  async logIn(app, userCount) {
    const right: LoggedIn[] = [];
    for (let index = 0; index < userCount; index++) right.push(await logIn(app, index));
    return { right };
  },
});
