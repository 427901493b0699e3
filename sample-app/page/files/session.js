/** Asks the server to keep the refresh token in a cookie, out of the reach of this script. */
const REFRESH_COOKIE = { 'X-Refresh-Cookie': '1' };

/** Longest wait for an answer. */
const TIMEOUT_MS = 8000;

/** The share of its life after which a token is renewed. The rest is for a server that does not answer at once. */
const RENEW_AFTER = 0.75;

/** The server says no. */
export class Refusal extends Error {
  constructor(status, body, retryAfter) {
    super(String(body.message ?? `The server answered ${status}`).replace(/\.?$/, '.'));
    this.status = status;
    this.code = body.code;
    this.retryAfterMs = Number(retryAfter) * 1000;
  }
}

/** The server says nothing, or that it cannot answer now: no reason to forget anything. */
export class Unreachable extends Error {
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
    if (response.status >= 500) throw new Unreachable();
    const answer = response.status === 204 ? {} : await response.json();
    if (response.ok) return answer;
    throw new Refusal(response.status, answer, response.headers.get('Retry-After'));
  } catch (error) {
    throw error instanceof Refusal ? error : new Unreachable();
  }
}

/** What this window knows of its session. The access token is nowhere but in here, and gone with the window. */
export class Session {
  #token;
  #renewal;
  #expiresAtMs;
  #lifeMs;
  renewals = 0;

  /** @returns {Promise<Session>} a session on a new device */
  static async signIn(credentials) {
    return new Session(await send('POST', '/auth/login', { headers: REFRESH_COOKIE, body: credentials }));
  }

  /** @returns {Promise<Session>} the session whose cookie this browser has; a {@link Refusal} where it has none */
  static async resume() {
    return new Session(await refresh());
  }

  constructor(answer) {
    this.#take(answer);
  }

  /** How much of the token's life is left, from 1 to 0; it is renewed long before 0. */
  get share() {
    return this.#lifeMs === null ? 1 : this.remainingMs / this.#lifeMs;
  }

  get remainingMs() {
    return Math.max(0, this.#expiresAtMs - Date.now());
  }

  get renewsInMs() {
    return this.#lifeMs === null ? Infinity : this.remainingMs - this.#lifeMs * (1 - RENEW_AFTER);
  }

  /** Exchanges both tokens for new ones; once, however many ask for it. */
  renew() {
    this.#renewal ??= this.#renewOnce().finally(() => {
      this.#renewal = undefined;
    });
    return this.#renewal;
  }

  /** Sends a request with the token, which is renewed before if it is time to. */
  async call(method, path, body) {
    if (this.renewsInMs <= 0) await this.renew();
    try {
      return await send(method, path, { headers: this.#headers, body });
    } catch (error) {
      // This clock and the server's may differ.
      if (error.code !== 'token_expired') throw error;
      await this.renew();
      return send(method, path, { headers: this.#headers, body });
    }
  }

  /** Ends this device or all of them, and forgets the cookie if it is this device's. */
  async end(everywhere) {
    let cookie = REFRESH_COOKIE;
    try {
      await this.renew();
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // The cookie is gone, or that of a newer session.
      cookie = {};
    }
    const path = everywhere ? '/auth/logout-all' : '/auth/logout';
    try {
      await send('POST', path, { headers: { ...this.#headers, ...cookie } });
    } catch (error) {
      // Then nobody has a live token of this device any more.
      if (everywhere || error.code !== 'token_expired') throw error;
    }
  }

  async #renewOnce() {
    const answer = await refresh();
    // Another window of this browser has signed in since then, somebody else maybe.
    if (answer.deviceId !== this.deviceId) throw new Refusal(401, { code: 'refresh_invalid' });
    this.#take(answer);
    this.renewals++;
  }

  get #headers() {
    return { Authorization: `Bearer ${this.#token}` };
  }

  #take({ token, expiresIn, deviceId, refreshExpiresAt }) {
    this.#token = token;
    this.#lifeMs = expiresIn === null ? null : expiresIn * 1000;
    this.#expiresAtMs = expiresIn === null ? Infinity : Date.now() + this.#lifeMs;
    this.deviceId = deviceId;
    this.endsAt = refreshExpiresAt;
  }
}

async function refresh() {
  const answer = await send('POST', '/auth/refresh', { headers: REFRESH_COOKIE });
  // The 204 of a browser that has no cookie.
  if (!answer.token) throw new Refusal(401, { code: 'refresh_invalid' });
  return answer;
}
