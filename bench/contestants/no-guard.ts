import { Controller, Get } from '@nestjs/common';
import { bearer, type Contestant } from './contestant.js';

/** As long as the ids of real users, so that the response has the same size. */
const ID = '00000000-0000-7000-8000-000000000000';

@Controller('me')
class OpenController {
  @Get()
  me() {
    return { id: ID };
  }
}

/** The same application without authentication: the upper limit for every contestant. */
export const noGuard = (): Contestant => ({
  module: { controllers: [OpenController] },
  // Requests carry the same header as those to the other contestants, so that they have the same size.
  logIn: async (_app, userCount) => ({
    valid: Array.from({ length: userCount }, () => ({ userId: ID, credential: bearer(ID) })),
  }),
});
