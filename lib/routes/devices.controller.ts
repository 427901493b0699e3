import { Controller, Delete, Get, HttpCode, Patch, Req, UseGuards } from '@nestjs/common';
import { RequireLogin } from '../authentication/expiring-token.decorators.js';
import { ExpiringTokenGuard } from '../authentication/expiring-token.guard.js';
import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { DescribeRoute } from '../openapi/describe-route.decorator.js';
import { DeviceModel, DeviceNameModel } from '../openapi/models.js';
import type { Device } from '../tokens/device.js';
import { ExpiringTokenService } from '../tokens/expiring-token.service.js';
import type { Token } from '../tokens/token.entity.js';
import { type AuthenticatedRequest, tokenOf } from '../transports/http-request.js';
import { PackageRoutes } from './package-routes.decorator.js';
import { readName } from './request-body.js';

/** A device as its user sees it: `current` marks the device that sent the request. */
export type DeviceResponse = Device & { current: boolean };

/**
 * A request with the id of a device in its path. It is not read with `@Param()`, because the pipes of the application could
 * change or reject it.
 */
type DeviceRequest = AuthenticatedRequest & { params: { id: string } };

const responseOf = (device: Device, token: Token): DeviceResponse => ({
  ...device,
  current: device.id === token.deviceId,
});

/** `GET devices`, and `PATCH` and `DELETE devices/:id`. The device of another user is treated as one that does not exist. */
@Controller('devices')
@PackageRoutes()
@RequireLogin()
@UseGuards(ExpiringTokenGuard)
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
    pathParameters: ['id'],
    body: { type: DeviceNameModel, required: true },
    response: { description: 'The device', type: DeviceModel },
    errors: ['validation_failed', 'device_not_found', 'throttled'],
  }))
  async rename(@Req() request: DeviceRequest): Promise<DeviceResponse> {
    const token = tokenOf(request);
    const device = await this.tokens.rename(token.userId, request.params.id, readName(request), { by: token });
    return responseOf(device, token);
  }

  @Delete(':id')
  @HttpCode(204)
  @DescribeRoute(() => ({
    summary: 'Log out a device',
    pathParameters: ['id'],
    response: { description: 'Its tokens are revoked' },
    errors: ['device_not_found', 'throttled'],
  }))
  async revoke(@Req() request: DeviceRequest): Promise<void> {
    const token = tokenOf(request);
    const revoked = await this.tokens.revoke(token.userId, request.params.id, { by: token });
    if (!revoked) throw new ExpiringTokenException('device_not_found');
  }
}
