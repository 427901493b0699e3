import { ERROR_CODES } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { apiModel, type ApiProperty } from './swagger-metadata.js';

const text: ApiProperty = { type: 'string' };
const textOrNull: ApiProperty = { type: 'string', nullable: true };
const time: ApiProperty = { type: 'string', format: 'date-time' };
const timeOrNull: ApiProperty = { ...time, nullable: true };
const scopesOrNull: ApiProperty = {
  type: 'array',
  items: { type: 'string' },
  nullable: true,
  description: 'null: all that the user may do',
};
const seconds: ApiProperty = { type: 'integer', minimum: 0, nullable: true };

const TOKEN_RESPONSE = {
  token: { ...text, description: 'The client sends it as `Authorization: Bearer …`' },
  tokenType: { type: 'string', enum: ['Bearer'] },
  expiresIn: { ...seconds, description: 'In seconds; null: never' },
  expiresAt: { ...timeOrNull, description: 'null: never' },
  deviceId: text,
} satisfies Record<string, ApiProperty>;

/** The bodies of requests and responses, for the document of `@nestjs/swagger`. */
export const TokenResponseModel = apiModel('ExpiringTokenAnswer', TOKEN_RESPONSE);

export const PairResponseModel = apiModel('ExpiringTokenPairAnswer', {
  ...TOKEN_RESPONSE,
  refreshToken: { ...text, description: 'Can be used for one refresh' },
  refreshExpiresIn: seconds,
  refreshExpiresAt: timeOrNull,
});

export const CurrentTokenModel = apiModel('ExpiringTokenCurrent', {
  deviceId: text,
  name: textOrNull,
  createdAt: time,
  expiresAt: timeOrNull,
  lastUsedAt: timeOrNull,
  scopes: scopesOrNull,
});

export const DeviceModel = apiModel('ExpiringTokenDevice', {
  id: text,
  name: textOrNull,
  userAgent: textOrNull,
  createdAt: time,
  lastUsedAt: timeOrNull,
  expiresAt: timeOrNull,
  actorId: { ...text, required: false, description: 'Somebody else who uses the device in place of its user' },
  current: { type: 'boolean', description: 'Whether it is the device that sent this request' },
});

export const RevokedModel = apiModel('ExpiringTokenRevoked', {
  revoked: { type: 'integer', minimum: 0, description: 'Number of devices that were logged out' },
});

export const DeviceNameModel = apiModel('ExpiringTokenDeviceName', { name: text });

export const LogoutAllModel = apiModel('ExpiringTokenLogoutAll', {
  keepCurrent: {
    type: 'boolean',
    required: false,
    description: 'Whether the device that sends the request stays logged in',
  },
});

export const RefreshModel = apiModel('ExpiringTokenRefresh', {
  refreshToken: { ...text, required: false, description: 'Unless the header holds it' },
});

const PERSONAL_TOKEN = {
  id: text,
  name: text,
  scopes: scopesOrNull,
  createdAt: time,
  expiresAt: timeOrNull,
  lastUsedAt: timeOrNull,
} satisfies Record<string, ApiProperty>;

export const PersonalTokenModel = apiModel('ExpiringTokenPersonalToken', PERSONAL_TOKEN);

export const IssuedPersonalTokenModel = apiModel('ExpiringTokenIssuedPersonalToken', {
  ...PERSONAL_TOKEN,
  expiresIn: TOKEN_RESPONSE.expiresIn,
  token: TOKEN_RESPONSE.token,
  tokenType: TOKEN_RESPONSE.tokenType,
});

export const NewPersonalTokenModel = apiModel('ExpiringTokenNewPersonalToken', {
  name: text,
  scopes: { ...PERSONAL_TOKEN.scopes, required: false },
  expiresIn: { ...seconds, minimum: 1, required: false, description: 'In seconds; null: never, if that is allowed' },
});

export const PersonalTokenNameModel = apiModel('ExpiringTokenPersonalTokenName', { name: text });

export const RotationModel = apiModel('ExpiringTokenRotation', {
  overlap: {
    type: 'integer',
    minimum: 0,
    required: false,
    description: 'How many seconds the earlier secret stays valid',
  },
});

/** The credentials. The options give their fields names. */
export const credentialsModel = ({ usernameField, passwordField }: ResolvedOptions) =>
  apiModel('ExpiringTokenCredentials', {
    [usernameField]: text,
    [passwordField]: { ...text, format: 'password' },
    deviceName: { ...textOrNull, required: false, description: 'Read if there is no header X-Device-Model' },
  });

/** The body of every error. */
export const ErrorModel = apiModel('ExpiringTokenError', {
  statusCode: { type: 'integer' },
  error: text,
  message: text,
  code: { type: 'string', enum: ERROR_CODES },
});
