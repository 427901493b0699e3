import { once } from 'node:events';
import { request as httpRequest, type IncomingMessage } from 'node:http';
import { type ClientHttp2Session, connect } from 'node:http2';
import { Readable } from 'node:stream';
import { setInterval } from 'node:timers/promises';
import { Controller, Get, Req, Res, Sse, StreamableFile, UseGuards } from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import {
  ExpiringTokenGuard,
  type HttpRequest,
  OptionalToken,
  Public,
  SocketAuthenticator,
  type Token,
} from 'nestjs-expiring-token';
import { interval, map, NEVER, Observable } from 'rxjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { OpenConnections } from '../lib/transports/open-connections.js';
import { onEveryAdapter, onEveryEnvironment, type TestApp } from './fixtures/app.js';

/** Emits often, so that writing goes on when the response has ended. */
const ticks = () => interval(1).pipe(map((tick) => ({ data: { tick } })));

/** The number of Observables that are subscribed to. */
let subscribed = 0;

const counted = () =>
  new Observable<{ data: object }>((subscriber) => {
    subscribed++;
    const subscription = ticks().subscribe(subscriber);
    return () => {
      subscribed--;
      subscription.unsubscribe();
    };
  });

@Controller()
class StreamsController {
  constructor(private readonly sockets: SocketAuthenticator) {}

  @Sse('guarded')
  @UseGuards(ExpiringTokenGuard)
  guarded() {
    return counted();
  }

  @Sse('silent')
  @UseGuards(ExpiringTokenGuard)
  silent() {
    return NEVER;
  }

  @Sse('passport-stream')
  @UseGuards(AuthGuard('expiring-token'))
  passport() {
    return counted();
  }

  @Sse('optional-stream')
  @OptionalToken()
  @UseGuards(ExpiringTokenGuard)
  optional() {
    return counted();
  }

  @Get('download')
  @UseGuards(ExpiringTokenGuard)
  download(@Req() request: HttpRequest, @Res({ passthrough: true }) response: object) {
    this.sockets.watchResponse(request, response);
    this.sockets.watchResponse(request, response);
    return new StreamableFile(Readable.from(chunks()));
  }

  @Get('optional-download')
  @OptionalToken()
  @UseGuards(ExpiringTokenGuard)
  optionalDownload(@Req() request: HttpRequest, @Res({ passthrough: true }) response: object) {
    this.sockets.watchResponse(request, response);
    return 'all';
  }

  @Get('unguarded-download')
  @Public()
  @UseGuards(ExpiringTokenGuard)
  unguarded(@Req() request: HttpRequest, @Res({ passthrough: true }) response: object) {
    this.sockets.watchResponse(request, response);
    return 'never';
  }
}

/** A source that never ends. */
const chunks = () => setInterval(1, 'chunk\n');

/** What a client receives of a response that stays open. */
class Stream {
  text = '';
  /** How the response ended. */
  readonly ended: Promise<'complete' | 'aborted'>;

  private constructor(readonly incoming: IncomingMessage) {
    incoming.on('data', (chunk: Buffer) => (this.text += chunk.toString()));
    this.ended = new Promise((resolve) => {
      incoming.on('error', () => undefined);
      incoming.on('close', () => resolve(incoming.complete ? 'complete' : 'aborted'));
    });
  }

  /** Opens a stream, and waits for its first bytes. */
  static async open(app: TestApp, path: string, token?: string): Promise<Stream> {
    const headers = token ? { authorization: `Bearer ${token}` } : {};
    const outgoing = httpRequest(`${app.origin}${path}`, { headers, agent: false }).end();
    const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage];
    expect(incoming.statusCode).toBe(200);
    const stream = new Stream(incoming);
    await once(incoming, 'data');
    return stream;
  }
}

const exception = (code: string, message: string) =>
  `event: exception\ndata: ${JSON.stringify({ status: 'error', message, code })}\n\n`;

const revoked = exception('token_invalid', 'Invalid token');

/** The ways in which a token ends. */
const ENDINGS: [name: string, lastEvent: string, end: (app: TestApp, token: Token) => Promise<unknown>][] = [
  ['revokeAll()', revoked, ({ tokens }, { userId }) => tokens.revokeAll(userId)],
  ['revoke()', revoked, ({ tokens }, { userId, deviceId }) => tokens.revoke(userId, deviceId)],
  [
    'setActive(false)',
    exception('user_inactive', 'User inactive or deleted'),
    ({ users }, { userId }) => users.setActive(userId, false),
  ],
  ['delete()', revoked, ({ users }, { userId }) => users.delete(userId)],
];

const STREAMS = ['/guarded', '/silent', '/passport-stream', '/optional-stream'];

describe('A stream of @Sse()', () => {
  onEveryAdapter((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ controllers: [StreamsController] });
    });

    describe.each(STREAMS)('%s', (path) => {
      it.each(ENDINGS)('ends with a last event after %s', async (_, lastEvent, end) => {
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
        const stream = await Stream.open(app, path, plainText);
        await end(app, token);
        expect(await stream.ended).toBe('complete');
        expect(stream.text.endsWith(lastEvent), stream.text.slice(-200)).toBe(true);
      });

      it('ends when its token expires', async () => {
        const { plainText } = await app.tokens.issue((await app.createUser()).id, { lifespan: 300 });
        const stream = await Stream.open(app, path, plainText);
        app.clock.advance(300);
        expect(await stream.ended).toBe('complete');
        expect(stream.text.endsWith(exception('token_expired', 'Token has expired'))).toBe(true);
      });
    });

    it('ends the Observable of the handler, and is no longer watched', async () => {
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
      const streams = await Promise.all(STREAMS.map((path) => Stream.open(app, path, plainText)));
      const connections = app.nest.get(OpenConnections, { strict: false });
      expect(connections.size).toBe(streams.length);
      expect(subscribed).toBe(3);
      await app.tokens.revokeAll(token.userId);
      await Promise.all(streams.map(({ ended }) => ended));
      await expect.poll(() => subscribed).toBe(0);
      expect(connections.size).toBe(0);
    });

    it('goes on if it was opened without a token, or if the token of somebody else ended', async () => {
      const [own, other] = [await app.tokens.issue((await app.createUser()).id), await app.token()];
      const streams = [await Stream.open(app, '/optional-stream'), await Stream.open(app, '/guarded', other)];
      await app.tokens.revokeAll(own.token.userId);
      for (const stream of streams) {
        const { length } = stream.text;
        await expect.poll(() => stream.text.length).toBeGreaterThan(length);
        stream.incoming.destroy();
      }
      await expect.poll(() => app.nest.get(OpenConnections, { strict: false }).size).toBe(0);
    });

    it('is rejected after its token ended, when the client reconnects', async () => {
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
      await app.tokens.revokeAll(token.userId);
      for (const path of STREAMS) expect((await app.get(path, plainText)).status, path).toBe(401);
    });
  });
});

describe('A stream of @Sse() over HTTP/2', () => {
  onEveryEnvironment(
    (environment) => {
      it('ends with a last event, and the other streams of the connection go on', async () => {
        const adapter = new FastifyAdapter({ http2: true } as object);
        const app = await environment.boot({ controllers: [StreamsController], adapter });
        const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
        const session = connect(app.origin);
        const [ending, other] = [openHttp2(session, plainText), openHttp2(session, await app.token())];
        await Promise.all([ending.opened, other.opened]);
        await app.tokens.revokeAll(token.userId);
        expect(await ending.ended).toContain(revoked);
        const { length } = other.text();
        await expect.poll(() => other.text().length).toBeGreaterThan(length);
        session.destroy();
        await expect.poll(() => subscribed).toBe(0);
      });
    },
    { adapters: ['fastify'], databases: ['sqlite'] },
  );
});

function openHttp2(session: ClientHttp2Session, token: string) {
  const stream = session.request({ ':path': '/guarded', authorization: `Bearer ${token}` });
  let text = '';
  stream.on('data', (chunk: Buffer) => (text += chunk.toString()));
  stream.on('error', () => undefined);
  return {
    opened: once(stream, 'data'),
    ended: new Promise<string>((resolve) => stream.on('end', () => resolve(text))),
    text: () => text,
  };
}

describe('SocketAuthenticator.watchResponse()', () => {
  onEveryAdapter((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({ controllers: [StreamsController] });
    });

    it('aborts a download when its token ends, so that no client takes it for complete', async () => {
      const { plainText, token } = await app.tokens.issue((await app.createUser()).id);
      const stream = await Stream.open(app, '/download', plainText);
      expect(app.nest.get(OpenConnections, { strict: false }).size).toBe(1);
      await app.tokens.revokeAll(token.userId);
      expect(await stream.ended).toBe('aborted');
      expect(stream.text).toMatch(/^(chunk\n)+$/);
      expect(app.nest.get(OpenConnections, { strict: false }).size).toBe(0);
    });

    it('does nothing for a request that was accepted without a token', async () => {
      expect((await app.get('/optional-download')).text).toBe('all');
      expect((await app.get('/optional-download', await app.token())).text).toBe('all');
    });

    it('fails if no guard has authenticated the request', async () => {
      expect((await app.get('/unguarded-download', await app.token())).status).toBe(500);
    });
  });
});
