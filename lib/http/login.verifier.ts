import { Inject, Injectable } from '@nestjs/common';
import { available } from '../availability.js';
import { RESOLVED_OPTIONS, USER_STORE } from '../expiring-token.constants.js';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { cleanLabel } from '../tokens/device.js';
import { isAdmitted, type UserStore } from '../tokens/user-store.js';
import { type HttpRequest, utf8Header } from './http-request.js';
import { readLogin } from './json-body.js';

/** Who logs in, and with what device. */
export interface Login {
  userId: string;
  device: { name: string | undefined; userAgent: string | undefined };
}

/** Checks the credentials of a request. */
@Injectable()
export class LoginVerifier {
  constructor(
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
    @Inject(USER_STORE) private readonly users: UserStore,
  ) {}

  /**
   * @throws ExpiringTokenException `validation_failed` for a body of the wrong shape; `credentials_invalid`, the same
   * whatever is wrong with the credentials
   */
  async verify(request: HttpRequest): Promise<Login> {
    const { deviceName, ...credentials } = readLogin(request, this.options);
    const userId = await available(async () => {
      const user = await this.users.validateCredentials(credentials);
      return isAdmitted(this.users, user) ? this.users.getId(user) : null;
    });
    if (userId === null) throw new ExpiringTokenException('credentials_invalid');
    const userAgent = utf8Header(request, 'user-agent');
    const name = [utf8Header(request, 'x-device-model'), deviceName, userAgent].find((label) => cleanLabel(label));
    return { userId, device: { name, userAgent } };
  }
}
