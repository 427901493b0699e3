import type { Contestant, Setting } from '../contestants/contestant.js';
import { oursWith, postgres } from '../contestants/ours.js';

/** One of several processes that publish revocations to each other through Redis. */
export const application = (setting: Setting): Contestant =>
  oursWith(postgres(setting), { cache: { ttl: '10s', redis: setting.redisUrl } });
