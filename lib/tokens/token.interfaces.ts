import type { Duration } from '../duration.js';
import type { Token } from './token.entity.js';

/** A token at the one moment when it can be shown. */
export interface IssuedToken {
  /** What the client sends from now on. It is nowhere stored: show it, and forget it. */
  plainText: string;
  /** Its row. */
  token: Token;
}

/** Who sent a request, and with what token. */
export interface Authentication<User = unknown> {
  /** What `UserStore.findById` returned. */
  user: User;
  /** The row of the token. */
  token: Token;
}

/** What is known of a new token's device. Both are stored without control characters, cut at 255 code points. */
export interface DeviceOptions {
  /** Its name. */
  name?: string | null;
  /** Its user agent. */
  userAgent?: string | null;
}

/** What a new token may be given. */
export interface IssueOptions extends DeviceOptions {
  /** Its own lifespan, whatever the module's is or becomes; null: it never expires. */
  lifespan?: Duration | null;
}
