import { Controller, Delete, Get, HttpCode, Param, Patch, Req, UseGuards, UseInterceptors } from '@nestjs/common';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { ResponseHeadersInterceptor } from '../authentication/response-headers.interceptor.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { DescribeRoute, TagAuthentication } from '../openapi/describe-route.decorator.js';
import { DeviceModel, DeviceNameModel } from '../openapi/models.js';
import type { Device } from '../tokens/device.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { readName } from './request-body.js';

/** A device as its user sees it: `current` marks the device that sent the request. */
export type DeviceResponse = Device & { current: boolean };

const responseOf = (device: Device, token: Token): DeviceResponse => ({
  ...device,
  current: device.id === token.deviceId,
});

/** `GET devices`, and `PATCH` and `DELETE devices/:id`. The device of another user is treated as one that does not exist. */
@Controller('devices')
@TagAuthentication()
@UseGuards(ExpiringTokenGuard)
@UseInterceptors(ResponseHeadersInterceptor)
export class DevicesController {
  constructor(private readonly tokens: ExpiringTokenService) {}

  @Get()
  @DescribeRoute(() => ({
    summary: 'List the live devices',
    response: { description: 'The newest first', type: DeviceModel, isArray: true },
  }))
  async list(@Req() request: AuthenticatedRequest): Promise<DeviceResponse[]> {
    const token = tokenOf(request);
    const devices = await this.tokens.list(token.userId);
    return devices.map((device) => responseOf(device, token));
  }

  @Patch(':id')
  @DescribeRoute(() => ({
    summary: 'Rename a device',
    body: { type: DeviceNameModel, required: true },
    response: { description: 'The device', type: DeviceModel },
    errors: ['validation_failed', 'device_not_found', 'throttled'],
  }))
  async rename(@Req() request: AuthenticatedRequest, @Param('id') id: string): Promise<DeviceResponse> {
    const token = tokenOf(request);
    const device = await this.tokens.rename(token.userId, id, readName(request), { by: token });
    return responseOf(device, token);
  }

  @Delete(':id')
  @HttpCode(204)
  @DescribeRoute(() => ({
    summary: 'Log out a device',
    response: { description: 'Its tokens are revoked' },
    errors: ['device_not_found', 'throttled'],
  }))
  async revoke(@Req() request: AuthenticatedRequest, @Param('id') id: string): Promise<void> {
    const token = tokenOf(request);
    const revoked = await this.tokens.revoke(token.userId, id, { by: token });
    if (!revoked) throw new ExpiringTokenException('device_not_found');
  }
}
