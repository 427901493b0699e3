import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { checkCredential } from '../users/credentials.js';
import type { Credentials } from '../users/user-store.js';
import { type HttpRequest, mediaType } from '../transports/http-request.js';

function refuse(message: string): never {
  throw new ExpiringTokenException('validation_failed', { message });
}

/**
 * The body of a request as the object that it has to be. Its content type is asked for, because a page of another origin
 * can send any other one without the browser asking us first.
 *
 * @throws ExpiringTokenException `validation_failed`
 */
function readJson(request: HttpRequest): Record<string, unknown> {
  const { body } = request;
  if (mediaType(request) !== 'application/json') refuse('Content-Type must be application/json');
  if (typeof body !== 'object' || body === null || Array.isArray(body)) refuse('body must be a JSON object');
  return body as Record<string, unknown>;
}

/** A field of the body itself, not of what all objects inherit. */
const field = (body: Record<string, unknown>, name: string): unknown =>
  Object.hasOwn(body, name) ? body[name] : undefined;

/** The credentials, and what else a login may say of the device. */
export interface LoginBody extends Credentials {
  deviceName: string | undefined;
}

/**
 * Reads the body of a login. No other field is looked at.
 *
 * @throws ExpiringTokenException `validation_failed`, naming the field and never its value
 */
export function readLogin(request: HttpRequest, options: ResolvedOptions): LoginBody {
  const body = readJson(request);
  const username = checkCredential(options.usernameField, field(body, options.usernameField));
  const password = checkCredential(options.passwordField, field(body, options.passwordField));
  const deviceName = field(body, 'deviceName') ?? undefined;
  if (deviceName !== undefined && typeof deviceName !== 'string') refuse('deviceName must be a string');
  return { username, password, deviceName };
}

/** Reads the new name of a device. */
export function readName(request: HttpRequest): string {
  const name = field(readJson(request), 'name');
  return typeof name === 'string' ? name : refuse('name must be a string');
}

/** The body of a request that may come without one: then an empty object. */
function readJsonIfAny(request: HttpRequest): Record<string, unknown> {
  const { 'content-length': length = '0', 'transfer-encoding': encoding } = request.headers;
  return length === '0' && encoding === undefined ? {} : readJson(request);
}

/** Reads whether `logout-all` spares the device in use. The body may be left out. */
export function readKeepCurrent(request: HttpRequest): boolean {
  const keepCurrent = field(readJsonIfAny(request), 'keepCurrent') ?? false;
  return typeof keepCurrent === 'boolean' ? keepCurrent : refuse('keepCurrent must be true or false');
}

/** Reads the refresh token out of the body, which may be left out; null if it is not there. */
export function readRefreshTokenField(request: HttpRequest): string | null {
  const refreshToken = field(readJsonIfAny(request), 'refreshToken');
  if (refreshToken === undefined) return null;
  return typeof refreshToken === 'string' ? refreshToken : refuse('refreshToken must be a string');
}
