/** Header that makes the server keep the refresh token in a cookie, which scripts cannot read. */
const COOKIE_MODE = { 'X-Refresh-Cookie': '1' };

/** Time limit for a response. */
const TIMEOUT_MS = 8000;

/** The share of its lifespan after which a token is refreshed. The rest leaves time for retries if the server is slow. */
const REFRESH_AFTER_SHARE = 0.75;

/** The server rejected the request. */
export class RequestRejected extends Error {
  constructor(status, body, retryAfter) {
    super(String(body.message ?? `The server answered ${status}`).replace(/\.?$/, '.'));
    this.status = status;
    this.code = body.code;
    this.retryAfterMs = Number(retryAfter) * 1000;
  }
}

/** The server did not respond, or responded with a 5xx status. The session may still be valid, so nothing is deleted. */
export class ServerUnavailable extends Error {
  constructor() {
    super('The server does not answer.');
  }
}

async function send(method, path, { headers = {}, body } = {}) {
  const options = { method, headers, cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS) };
  if (body !== undefined) {
    options.headers = { ...headers, 'Content-Type': 'application/json' };
    options.body = JSON.stringify(body);
  }
  try {
    const response = await fetch(path, options);
    if (response.status >= 500) throw new ServerUnavailable();
    const content = response.status === 204 ? {} : await response.json();
    if (response.ok) return content;
    throw new RequestRejected(response.status, content, response.headers.get('Retry-After'));
  } catch (error) {
    throw error instanceof RequestRejected ? error : new ServerUnavailable();
  }
}

/** The session of this window. Only this object holds the access token, so the token is lost when the window closes. */
export class Session {
  #token;
  #renewal;
  #expiresAtMs;
  #lifeMs;
  renewals = 0;

  /** @returns {Promise<Session>} the session of a new device */
  static async signIn(credentials) {
    return new Session(await send('POST', '/auth/login', { headers: COOKIE_MODE, body: credentials }));
  }

  /** @returns {Promise<Session>} the session of the refresh cookie; rejects with {@link RequestRejected} if there is no cookie */
  static async resume() {
    return new Session(await refresh());
  }

  constructor(tokens) {
    this.#setTokens(tokens);
  }

  /** The remaining share of the token's lifespan, from 1 to 0. The token is refreshed long before it reaches 0. */
  get share() {
    return this.#lifeMs === null ? 1 : this.remainingMs / this.#lifeMs;
  }

  get remainingMs() {
    return Math.max(0, this.#expiresAtMs - Date.now());
  }

  get renewsInMs() {
    return this.#lifeMs === null ? Infinity : this.remainingMs - this.#lifeMs * (1 - REFRESH_AFTER_SHARE);
  }

  /** Exchanges both tokens for new ones. Simultaneous calls share one request. */
  renew() {
    this.#renewal ??= this.#refreshTokens().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Sends a request with the access token. Refreshes the token first if that is due. */
  async call(method, path, body) {
    if (this.renewsInMs <= 0) await this.renew();
    try {
      return await send(method, path, { headers: this.#headers, body });
    } catch (error) {
      // The clocks of the browser and of the server may differ, so the token can expire earlier than expected here.
      if (error.code !== 'token_expired') throw error;
      await this.renew();
      return send(method, path, { headers: this.#headers, body });
    }
  }

  /** Logs out this device, or all devices of the user. Deletes the cookie if it belongs to this device. */
  async end(everywhere) {
    let cookie = COOKIE_MODE;
    try {
      await this.renew();
    } catch (error) {
      if (!(error instanceof RequestRejected)) throw error;
      // The cookie does not exist any more, or belongs to a newer session, which must keep it.
      cookie = {};
    }
    const path = everywhere ? '/auth/logout-all' : '/auth/logout';
    try {
      await send('POST', path, { headers: { ...this.#headers, ...cookie } });
    } catch (error) {
      // The token expired and could not be refreshed, so this device is already logged out.
      if (everywhere || error.code !== 'token_expired') throw error;
    }
  }

  async #refreshTokens() {
    const tokens = await refresh();
    // Another window of this browser has signed in since then, possibly another user.
    if (tokens.deviceId !== this.deviceId) throw new RequestRejected(401, { code: 'refresh_invalid' });
    this.#setTokens(tokens);
    this.renewals++;
  }

  get #headers() {
    return { Authorization: `Bearer ${this.#token}` };
  }

  #setTokens({ token, expiresIn, deviceId, refreshExpiresAt }) {
    this.#token = token;
    this.#lifeMs = expiresIn === null ? null : expiresIn * 1000;
    this.#expiresAtMs = expiresIn === null ? Infinity : Date.now() + this.#lifeMs;
    this.deviceId = deviceId;
    this.endsAt = refreshExpiresAt;
  }
}

async function refresh() {
  const tokens = await send('POST', '/auth/refresh', { headers: COOKIE_MODE });
  // The server responds with 204 if the browser has no cookie.
  if (!tokens.token) throw new RequestRejected(401, { code: 'refresh_invalid' });
  return tokens;
}
