import { ExpiringTokenException } from '../errors/expiring-token.exception.js';
import { MAX_DURATION_MS } from '../options/duration.js';
import type { ResolvedOptions } from '../options/resolve-options.js';
import { MAX_SCOPES_LENGTH } from '../options/scopes.js';
import type { PersonalTokenOptions } from '../tokens/personal/personal-token.js';
import { OVERLAP_RANGE } from '../tokens/personal/personal-token.service.js';
import { type HttpRequest, mediaType } from '../transports/http-request.js';
import { checkCredential } from '../users/credentials.js';
import type { Credentials } from '../users/user-store.js';

type JsonObject = Record<string, unknown>;

function rejectBody(message: string): never {
  throw new ExpiringTokenException('validation_failed', { message });
}

/**
 * Reads the body of a request, which has to be a JSON object. The content type is checked because of cross-site request
 * forgery: a page of another origin can send any other content type without a preflight request of the browser.
 *
 * @throws ExpiringTokenException `validation_failed`
 */
function readJson(request: HttpRequest): JsonObject {
  const { body } = request;
  if (mediaType(request) !== 'application/json') rejectBody('Content-Type must be application/json');
  if (typeof body !== 'object' || body === null || Array.isArray(body)) rejectBody('body must be a JSON object');
  return body as JsonObject;
}

/** Reads the body of a request that may be sent without one. It is an empty object then. */
const readOptionalJson = (request: HttpRequest): JsonObject => (isEmpty(request) ? {} : readJson(request));

/**
 * Whether a request has no body. A body over HTTP/2 needs neither of the two headers, so there the framework decides: it has
 * parsed the body or not. Some frameworks give a request without a body an empty object.
 */
function isEmpty({ headers, body }: HttpRequest): boolean {
  const { 'content-length': length, 'transfer-encoding': encoding } = headers;
  if (encoding !== undefined) return false;
  if (length !== undefined) return length === '0';
  return !body || (typeof body === 'object' && Object.keys(body).length === 0);
}

/** Returns a field of the body itself. Properties that every object inherits, such as `constructor`, are not fields. */
const fieldOf = (body: JsonObject, name: string): unknown => (Object.hasOwn(body, name) ? body[name] : undefined);

/** The credentials, and the name of the device if the client sends one. */
export interface LoginBody extends Credentials {
  deviceName: string | undefined;
}

/**
 * Reads the body of a login. Other fields are ignored.
 *
 * @throws ExpiringTokenException `validation_failed` with the name of the field, never with its value
 */
export function readLogin(request: HttpRequest, { usernameField, passwordField }: ResolvedOptions): LoginBody {
  const body = readJson(request);
  const username = checkCredential(usernameField, fieldOf(body, usernameField));
  const password = checkCredential(passwordField, fieldOf(body, passwordField));
  const deviceName = fieldOf(body, 'deviceName') ?? undefined;
  if (deviceName !== undefined && typeof deviceName !== 'string') rejectBody('deviceName must be a string');
  return { username, password, deviceName };
}

/** Reads the new name of a device or of a personal token. */
export function readName(request: HttpRequest): string {
  const name = fieldOf(readJson(request), 'name');
  return typeof name === 'string' ? name : rejectBody('name must be a string');
}

/** Reads whether `logout-all` keeps the device in use logged in. The body is optional. */
export function readKeepCurrent(request: HttpRequest): boolean {
  const keepCurrent = fieldOf(readOptionalJson(request), 'keepCurrent') ?? false;
  return typeof keepCurrent === 'boolean' ? keepCurrent : rejectBody('keepCurrent must be true or false');
}

/** Reads the refresh token from the body, which is optional; null if it is not there. */
export function readRefreshTokenField(request: HttpRequest): string | null {
  const refreshToken = fieldOf(readOptionalJson(request), 'refreshToken');
  if (refreshToken === undefined) return null;
  return typeof refreshToken === 'string' ? refreshToken : rejectBody('refreshToken must be a string');
}

/** Reads what a new personal token is to be. */
export function readNewPersonalToken(
  request: HttpRequest,
  { personal, scopes: catalogue }: Pick<ResolvedOptions, 'personal' | 'scopes'>,
): Pick<PersonalTokenOptions, 'name' | 'scopes' | 'lifespan'> {
  const { longestMs } = personal!;
  const body = readJson(request);
  const name = fieldOf(body, 'name');
  if (typeof name !== 'string') rejectBody('name must be a string');
  const scopes = checkScopes(fieldOf(body, 'scopes') ?? null, catalogue);
  const expiresIn = fieldOf(body, 'expiresIn');
  if (expiresIn === undefined) return { name, scopes };
  if (expiresIn === null && longestMs === Infinity) return { name, scopes, lifespan: null };
  const maxSeconds = Math.floor(Math.min(longestMs, MAX_DURATION_MS) / 1000);
  return { name, scopes, lifespan: checkSeconds('expiresIn', expiresIn, 1, maxSeconds) };
}

/**
 * Returns the scopes of a new token if they are in the catalogue; null: everything. Without a catalogue, a client can name none.
 */
function checkScopes(value: unknown, catalogue: readonly string[] | null): string[] | null {
  if (value === null) return null;
  const isKnown = (scope: unknown) => catalogue?.includes(scope as string) === true;
  if (!Array.isArray(value) || !value.every(isKnown)) rejectBody('scopes must be a list of known scopes');
  const scopes = [...new Set(value as string[])];
  if (scopes.join(' ').length <= MAX_SCOPES_LENGTH) return scopes;
  return rejectBody(`scopes must have at most ${MAX_SCOPES_LENGTH} characters`);
}

/** Reads for how many milliseconds the earlier secret of a rotated token stays valid. The body is optional. */
export const readOverlap = (request: HttpRequest): number =>
  checkSeconds('overlap', fieldOf(readOptionalJson(request), 'overlap') ?? 0, 0, OVERLAP_RANGE.max / 1000);

/** Returns a field that is a number of seconds, in milliseconds. */
function checkSeconds(field: string, value: unknown, min: number, max: number): number {
  const isAllowed = Number.isSafeInteger(value) && min <= (value as number) && (value as number) <= max;
  return isAllowed
    ? (value as number) * 1000
    : rejectBody(`${field} must be a whole number of seconds from ${min} to ${max}`);
}
