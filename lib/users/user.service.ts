import { ConflictException, Inject, Injectable } from '@nestjs/common';
import type { DataSource, Repository } from 'typeorm';
import { availableWithin } from '../database/available.js';
import { isUniqueViolation } from '../database/retry.js';
import { CLOCK, type Clock, DATA_SOURCE, RESOLVED_OPTIONS } from '../expiring-token.constants.js';
import type { ResolvedOptions } from '../expiring-token.resolved-options.js';
import { isUuid, uuidV7 } from '../database/uuid-v7.js';
import { checkCredential, checkNewUsername } from './credentials.js';
import { hashPassword } from './password-hash.js';
import { User } from './user.entity.js';

/** Manages the users of the built-in store. Not there where `users` names another store. */
@Injectable()
export class UserService {
  private readonly users: Repository<User>;

  constructor(
    @Inject(DATA_SOURCE) dataSource: DataSource,
    @Inject(CLOCK) private readonly clock: Clock,
    @Inject(RESOLVED_OPTIONS) private readonly options: ResolvedOptions,
  ) {
    this.users = dataSource.getRepository(User);
  }

  /**
   * Creates an active user.
   *
   * @param username - compared exactly from then on; at most 255 characters, without white space around it
   * @param password - at most 1,024 bytes, hashed with Argon2id exactly as given; null for a user who cannot log in
   * @throws ExpiringTokenException `validation_failed` for a name or password that cannot be
   * @throws ConflictException when the name is taken
   */
  async create(username: string, password: string | null): Promise<User> {
    const user = {
      id: uuidV7(this.clock()),
      username: checkNewUsername(username),
      active: true,
    };
    const hash = password === null ? null : await hashPassword(checkCredential('password', password));
    return availableWithin(this.options.timeoutMs, async () => {
      await this.users.insert({ ...user, password: hash }).catch((error: unknown) => {
        throw isUniqueViolation(error) ? new ConflictException('User name is taken') : error;
      });
      return this.users.create(user);
    });
  }

  /**
   * Lets a user in, or keeps one out: from the next request on all tokens answer `user_inactive`, until the user is active
   * again.
   *
   * @returns whether there is such a user
   */
  async setActive(id: string, active: boolean): Promise<boolean> {
    if (!isUuid(id)) return false;
    return availableWithin(this.options.timeoutMs, async () => {
      await this.users.update({ id }, { active });
      return this.users.existsBy({ id });
    });
  }
}
