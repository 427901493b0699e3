import { type CanActivate, Controller, Get, Req, type Type, UseGuards } from '@nestjs/common';

interface UserRequest {
  user: { id: string };
}

/** The measured route, protected by a guard that sets `request.user`. */
export function guardedBy(guard: Type<CanActivate> | CanActivate): Type {
  @Controller('me')
  class MeController {
    @Get()
    @UseGuards(guard)
    me(@Req() { user }: UserRequest) {
      return { id: user.id };
    }
  }
  return MeController;
}
