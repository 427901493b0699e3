import { type ExecutionContext, Injectable, Module } from '@nestjs/common';
import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { RpcException } from '@nestjs/microservices';
import { WsException } from '@nestjs/websockets';
import { ExpiringTokenException, ExpiringTokenGuard, type HttpRequest, type User } from 'nestjs-expiring-token';
import { describe, expect, it } from 'vitest';
import { transportOf } from '../lib/transports/transport-of.js';
import { onEveryDatabase } from './fixtures/app.js';

class Messages {
  static handle = () => undefined;
}

function contextOf(type: string, ...args: unknown[]): ExecutionContext {
  const context = new ExecutionContextHost(args, Messages, Messages.handle);
  context.setType(type);
  return context;
}

describe('The transport of a context', () => {
  const exception = new ExpiringTokenException('token_expired');

  it.each([
    ['http', (error: unknown) => expect(error).toBe(exception)],
    ['graphql', (error: unknown) => expect(error).toMatchObject({ extensions: { code: 'token_expired' } })],
    ['ws', (error: unknown) => expect(error).toBeInstanceOf(WsException)],
    ['rpc', (error: unknown) => expect(error).toBeInstanceOf(RpcException)],
    ['other', (error: unknown) => expect(error).toBe(exception)],
  ])('of type %s converts an exception of the package, and no other error', async (type, expectConverted) => {
    const transport = transportOf(contextOf(type));
    expectConverted(await transport.toException(exception));
    const other = new Error('not of the package');
    expect(await transport.toException(other)).toBe(other);
  });

  it('of type http has the request and the response of Nest', () => {
    const [request, response] = [{ headers: {} }, {}];
    const context = contextOf('http', request, response);
    expect(transportOf(context).getRequest(context)).toBe(request);
    expect(transportOf(context).getResponse(context)).toBe(response);
  });

  it('of type graphql has no response once its headers are sent, and an error without a request', () => {
    const response = { headersSent: false };
    const context = contextOf('graphql', null, {}, { req: { res: response } }, {});
    expect(transportOf(context).getResponse(context)).toBe(response);
    response.headersSent = true;
    expect(transportOf(context).getResponse(context)).toBeUndefined();
    expect(() => transportOf(context).getRequest(context)).toThrow('Return { req } from the option context.');
  });

  it('of type graphql has the request of a resolver of a type too, to which GraphQL passes no arguments of a field', () => {
    const request = { headers: {}, res: { headersSent: false } };
    const info = { fieldNodes: [], operation: { operation: 'query' } };
    const context = contextOf('graphql', {}, { req: request }, info, { name: 'Animal' });
    expect(transportOf(context).getRequest(context)).toBe(request);
    expect(transportOf(context).getResponse(context)).toBe(request.res);
  });

  it('of type graphql has a handshake for each connection, even if two share an object with the parameters', () => {
    const connectionParams = {};
    const contextFor = (authorization: string) => {
      const request = { headers: { authorization }, socket: {} };
      return contextOf('graphql', null, {}, { extra: { request, socket: {} }, connectionParams }, {});
    };
    const [first, second] = [contextFor('Bearer first'), contextFor('Bearer second')];
    const requestOf = (context: ExecutionContext) => transportOf(context).getRequest(context);
    expect(requestOf(first).headers.authorization).toBe('Bearer first');
    expect(requestOf(second).headers.authorization).toBe('Bearer second');
    expect(requestOf(first)).toBe(requestOf(first));
  });

  it('of type graphql has a new handshake for new parameters of a connection', () => {
    const extra = { request: { headers: {}, socket: {} }, socket: {} };
    const contextFor = (token: string) =>
      contextOf('graphql', null, {}, { extra, connectionParams: { authorization: `Bearer ${token}` } }, {});
    const requestOf = (context: ExecutionContext) => transportOf(context).getRequest(context);
    expect(requestOf(contextFor('first')).headers.authorization).toBe('Bearer first');
    expect(requestOf(contextFor('second')).headers.authorization).toBe('Bearer second');
  });

  it('of type ws has one handshake for a client, and no response', () => {
    const client = { handshake: { headers: { authorization: 'Bearer x' }, address: '127.0.0.1' } };
    const [first, second] = [contextOf('ws', client), contextOf('ws', client)];
    const handshake = transportOf(first).getRequest(first);
    expect(handshake).toMatchObject({ headers: { authorization: 'Bearer x' }, ip: '127.0.0.1' });
    expect(transportOf(second).getRequest(second)).toBe(handshake);
    expect(transportOf(first).getResponse(first)).toBeUndefined();
  });

  it('of another type has an error that names getRequest, and no response', () => {
    const context = contextOf('other', {});
    expect(() => transportOf(context).getRequest(context)).toThrow(
      'ExpiringTokenGuard: other is not supported. Override getRequest for it.',
    );
    expect(transportOf(context).getResponse(context)).toBeUndefined();
  });
});

/** Reads the token from the payload of a message. */
@Injectable()
class MessageGuard extends ExpiringTokenGuard {
  protected override getRequest(context: ExecutionContext): HttpRequest {
    return context.switchToRpc().getData<HttpRequest>();
  }
}

@Module({ providers: [MessageGuard] })
class MessagesModule {}

describe('A subclass of the guard that overrides getRequest', () => {
  onEveryDatabase(
    (environment) => {
      it('authenticates contexts of another type, and throws the exception of its transport', async () => {
        const app = await environment.boot({ imports: [MessagesModule], options: { isGlobal: true } });
        const guard = app.nest.get(MessageGuard, { strict: false });
        const user = await app.createUser();
        const message: HttpRequest = { headers: { authorization: `Bearer ${await app.token(user.id)}` } };
        expect(await guard.canActivate(contextOf('rpc', message))).toBe(true);
        expect((message.user as User).id).toBe(user.id);
        const rejected = guard.canActivate(contextOf('rpc', { headers: {} }));
        await expect(rejected).rejects.toBeInstanceOf(RpcException);
        await expect(rejected).rejects.toMatchObject({ error: { code: 'token_missing' } });
      });

      it('still authenticates if a method of its own in JavaScript has the name of a step', async () => {
        const app = await environment.boot({ imports: [MessagesModule], options: { isGlobal: true } });
        const guard = app.nest.get(MessageGuard, { strict: false });
        const names = ['isAccepted', 'isAuthenticated', 'isPublic', 'isAllowed'];
        const subclassed = Object.assign(guard, Object.fromEntries(names.map((name) => [name, () => true])));
        await expect(subclassed.canActivate(contextOf('rpc', { headers: {} }))).rejects.toMatchObject({
          error: { code: 'token_missing' },
        });
      });
    },
    ['sqlite'],
  );
});
