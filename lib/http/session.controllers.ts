import { Controller, Delete, Get, HttpCode, Param, Patch, Post, Req, UseGuards, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenException } from '../expiring-token.exception.js';
import type { Device } from '../tokens/device.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import { AnswerHeaders } from './answer-headers.js';
import { CurrentToken } from './decorators.js';
import { ExpiringTokenGuard } from './expiring-token.guard.js';
import type { HttpRequest } from './http-request.js';
import { readKeepCurrent, readName } from './json-body.js';

/** A device as its owner sees it: `current` is the one that asks. */
export type OwnDevice = Device & { current: boolean };

/** What a client is told of the token that it uses. */
export interface CurrentTokenAnswer {
  deviceId: string;
  name: string | null;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
}

/** `GET token`: the token in use. */
@Controller('token')
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(AnswerHeaders)
export class TokenController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  show(@CurrentToken() token: Token): CurrentTokenAnswer {
    const { deviceId, name, created, lastUsedAt } = token;
    return { deviceId, name, createdAt: created, expiresAt: this.tokens.expiryOf(token), lastUsedAt };
  }
}

/** `POST logout` and `POST logout-all`. */
@Controller()
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(AnswerHeaders)
export class LogoutController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Post('logout')
  @HttpCode(204)
  async logout(@CurrentToken() { userId, deviceId }: Token): Promise<void> {
    await this.tokens.revoke(userId, deviceId);
  }

  @Post('logout-all')
  @HttpCode(200)
  async logoutAll(@CurrentToken() token: Token, @Req() request: HttpRequest): Promise<{ revoked: number }> {
    const options = readKeepCurrent(request) ? { except: token.deviceId } : {};
    return { revoked: await this.tokens.revokeAll(token.userId, options) };
  }
}

/** `GET devices`, and `PATCH` and `DELETE devices/:id`. An id of another user's device is one that does not exist. */
@Controller('devices')
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(AnswerHeaders)
export class DevicesController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  async list(@CurrentToken() token: Token): Promise<OwnDevice[]> {
    return (await this.tokens.list(token.userId)).map((device) => own(device, token));
  }

  @Patch(':id')
  async rename(@CurrentToken() token: Token, @Param('id') id: string, @Req() request: HttpRequest): Promise<OwnDevice> {
    return own(await this.tokens.rename(token.userId, id, readName(request)), token);
  }

  @Delete(':id')
  @HttpCode(204)
  async revoke(@CurrentToken() token: Token, @Param('id') id: string): Promise<void> {
    if (!(await this.tokens.revoke(token.userId, id))) throw new ExpiringTokenException('device_not_found');
  }
}

const own = (device: Device, token: Token): OwnDevice => ({ ...device, current: device.id === token.deviceId });
