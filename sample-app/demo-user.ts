import { ConflictException, Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { UserService } from 'nestjs-expiring-token';

/** Credentials to try the sample application with. */
export const DEMO = { username: 'demo', password: 'demo-password' };

/** Creates the demo user at the first start. */
@Injectable()
export class DemoUser implements OnApplicationBootstrap {
  constructor(private readonly users: UserService) {}

  async onApplicationBootstrap(): Promise<void> {
    await this.users.create(DEMO.username, DEMO.password).catch((error: unknown) => {
      if (!(error instanceof ConflictException)) throw error;
    });
  }
}
