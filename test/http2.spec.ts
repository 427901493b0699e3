import { type ClientHttp2Session, connect, type OutgoingHttpHeaders } from 'node:http2';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { onEveryEnvironment, type TestApp } from './fixtures/app.js';

const JSON_BODY = { 'content-type': 'application/json' };

describe('Over HTTP/2', () => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      let session: ClientHttp2Session;

      beforeAll(async () => {
        const adapter = new FastifyAdapter({ http2: true } as object);
        app = await environment.boot({ adapter, options: { refresh: {} } });
        session = connect(app.origin);
      });

      afterAll(() => session.destroy());

      /** Sends a request. HTTP/2 needs no `Content-Length` for its body. */
      async function send(path: string, token: string | null, headers: OutgoingHttpHeaders, body?: string) {
        const stream = session.request({
          ':method': 'POST',
          ':path': path,
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...headers,
        });
        let status = 0;
        stream.on('response', (response) => (status = Number(response[':status'])));
        stream.end(body);
        let text = '';
        for await (const chunk of stream) text += String(chunk);
        return { status, json: (text ? JSON.parse(text) : undefined) as Record<string, unknown> | undefined };
      }

      it('logout-all reads keepCurrent from a body without Content-Length', async () => {
        const { id } = await app.createUser();
        const [kept, other] = [await app.token(id), await app.token(id)];
        const answer = await send('/auth/logout-all', kept, JSON_BODY, '{"keepCurrent":true}');
        expect(answer).toEqual({ status: 200, json: { revoked: 1 } });
        expect((await send('/auth/logout-all', other, {})).status).toBe(401);
        expect(await send('/auth/logout-all', kept, {})).toEqual({ status: 200, json: { revoked: 1 } });
      });

      it('refresh reads the refresh token from a body without Content-Length', async () => {
        const { refresh } = await app.tokens.logIn((await app.createUser()).id);
        const body = JSON.stringify({ refreshToken: refresh!.plainText });
        expect((await send('/auth/refresh', null, JSON_BODY, body)).status).toBe(200);
        expect((await send('/auth/refresh', null, {})).json).toMatchObject({ code: 'refresh_invalid' });
        const both = { ...JSON_BODY, 'refresh-token': refresh!.plainText };
        expect((await send('/auth/refresh', null, both, body)).json).toMatchObject({ code: 'request_invalid' });
      });

      it.each([
        ['of the wrong type', { 'content-type': 'text/plain' }, '{"keepCurrent":true}'],
        ['of a form', { 'content-type': 'application/x-www-form-urlencoded' }, 'keepCurrent=true'],
        ['that is a list', JSON_BODY, '[{"keepCurrent":true}]'],
        ['with a field of the wrong type', JSON_BODY, '{"keepCurrent":"true"}'],
        ['that does not parse', JSON_BODY, '{"keepCurrent":tr'],
        ['with another length', { ...JSON_BODY, 'content-length': '3' }, '{"keepCurrent":true}'],
      ])('logout-all revokes nothing for a body %s', async (_, headers, body) => {
        const { id } = await app.createUser();
        const [token, other] = [await app.token(id), await app.token(id)];
        const status = await send('/auth/logout-all', token, headers, body).then(
          (answer) => answer.status,
          // Node resets a stream whose length is wrong.
          () => 400,
        );
        expect([400, 415]).toContain(status);
        expect((await app.tokens.list(id)).length).toBe(2);
        expect((await send('/auth/logout', other, {})).status).toBe(204);
      });

      it('login and the guard work as over HTTP/1.1', async () => {
        const { username } = await app.createUser();
        const answer = await send('/auth/login', null, JSON_BODY, JSON.stringify({ username, password: 'wrong' }));
        expect(answer).toMatchObject({ status: 401, json: { code: 'credentials_invalid' } });
        expect((await send('/me', 'nonsense', {})).json).toMatchObject({ code: 'token_invalid' });
        expect((await send('/me', await app.token(), JSON_BODY, '{"a":1}')).json).toMatchObject({ body: { a: 1 } });
      });
    },
    { adapters: ['fastify'], databases: ['sqlite'] },
  );
});
