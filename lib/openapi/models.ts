import { ERROR_CODES } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { apiModel, type ApiProperty } from './swagger-metadata.js';

const text: ApiProperty = { type: 'string' };
const textOrNull: ApiProperty = { type: 'string', nullable: true };
const time: ApiProperty = { type: 'string', format: 'date-time' };
const timeOrNull: ApiProperty = { ...time, nullable: true };
const seconds: ApiProperty = { type: 'integer', minimum: 0, nullable: true };

const ANSWER = {
  token: { ...text, description: 'Sent as `Authorization: Bearer …` from now on' },
  tokenType: { type: 'string', enum: ['Bearer'] },
  expiresIn: { ...seconds, description: 'In seconds; null: never' },
  expiresAt: { ...timeOrNull, description: 'null: never' },
  deviceId: text,
} satisfies Record<string, ApiProperty>;

/** What the routes take and answer, for the document of `@nestjs/swagger`. */
export const TokenAnswerModel = apiModel('ExpiringTokenAnswer', ANSWER);

export const PairAnswerModel = apiModel('ExpiringTokenPairAnswer', {
  ...ANSWER,
  refreshToken: { ...text, description: 'For one refresh' },
  refreshExpiresIn: seconds,
  refreshExpiresAt: timeOrNull,
});

export const CurrentTokenModel = apiModel('ExpiringTokenCurrent', {
  deviceId: text,
  name: textOrNull,
  createdAt: time,
  expiresAt: timeOrNull,
  lastUsedAt: timeOrNull,
});

export const DeviceModel = apiModel('ExpiringTokenDevice', {
  id: text,
  name: textOrNull,
  userAgent: textOrNull,
  createdAt: time,
  lastUsedAt: timeOrNull,
  expiresAt: timeOrNull,
  current: { type: 'boolean', description: 'Whether it is the one that asks' },
});

export const RevokedModel = apiModel('ExpiringTokenRevoked', {
  revoked: { type: 'integer', minimum: 0, description: 'How many devices were ended' },
});

export const DeviceNameModel = apiModel('ExpiringTokenDeviceName', { name: text });

export const LogoutAllModel = apiModel('ExpiringTokenLogoutAll', {
  keepCurrent: { type: 'boolean', required: false, description: 'Whether the device that asks stays' },
});

export const RefreshModel = apiModel('ExpiringTokenRefresh', {
  refreshToken: { ...text, required: false, description: 'Where it is not in the header' },
});

/** The fields of a login have the names that the options give them. */
export const credentialsModel = ({ usernameField, passwordField }: ResolvedOptions) =>
  apiModel('ExpiringTokenCredentials', {
    [usernameField]: text,
    [passwordField]: { ...text, format: 'password' },
    deviceName: { ...textOrNull, required: false, description: 'Where there is no header X-Device-Model' },
  });

/** The body of every refusal. */
export const ErrorModel = apiModel('ExpiringTokenError', {
  statusCode: { type: 'integer' },
  error: text,
  message: text,
  code: { type: 'string', enum: ERROR_CODES },
});
