import { Controller, Get } from '@nestjs/common';
import { bearer, type Contestant } from './contestant.js';

/** As long as any user's. */
const ID = '00000000-0000-7000-8000-000000000000';

@Controller('me')
class OpenController {
  @Get()
  me() {
    return { id: ID };
  }
}

/** The same application without authentication: the most that there is to reach. */
export const noGuard = (): Contestant => ({
  module: { controllers: [OpenController] },
  // The header that the others read is sent here too.
  logIn: async (_app, userCount) => ({
    right: Array.from({ length: userCount }, () => ({ userId: ID, credential: bearer(ID) })),
  }),
});
