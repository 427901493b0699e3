import { Controller, Delete, Get, HttpCode, Param, Patch, Req, UseGuards, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { Device } from '../tokens/device.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { DescribeRoute } from '../openapi/route-documentation.js';
import { DeviceModel, DeviceNameModel } from '../openapi/models.js';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { readName } from './request-body.js';

/** A device as its owner sees it: `current` is the one that asks. */
export type OwnDevice = Device & { current: boolean };

const own = (device: Device, token: Token): OwnDevice => ({ ...device, current: device.id === token.deviceId });

/** `GET devices`, and `PATCH` and `DELETE devices/:id`. An id of another user's device is one that does not exist. */
@Controller('devices')
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(ResponseHeadersInterceptor)
export class DevicesController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  @DescribeRoute(() => ({
    summary: 'List the live devices',
    answer: { description: 'The newest first', type: DeviceModel, isArray: true },
  }))
  async list(@Req() request: AuthenticatedRequest): Promise<OwnDevice[]> {
    const token = tokenOf(request);
    return (await this.tokens.list(token.userId)).map((device) => own(device, token));
  }

  @Patch(':id')
  @DescribeRoute(() => ({
    summary: 'Give a device another name',
    body: { type: DeviceNameModel, required: true },
    answer: { description: 'The device', type: DeviceModel },
    errors: ['validation_failed', 'device_not_found'],
  }))
  async rename(@Req() request: AuthenticatedRequest, @Param('id') id: string): Promise<OwnDevice> {
    const token = tokenOf(request);
    return own(await this.tokens.rename(token.userId, id, readName(request)), token);
  }

  @Delete(':id')
  @HttpCode(204)
  @DescribeRoute(() => ({
    summary: 'Log out a device',
    answer: { description: 'Its tokens are dead' },
    errors: ['device_not_found'],
  }))
  async revoke(@Req() request: AuthenticatedRequest, @Param('id') id: string): Promise<void> {
    if (!(await this.tokens.revoke(tokenOf(request).userId, id))) throw new ExpiringTokenException('device_not_found');
  }
}
