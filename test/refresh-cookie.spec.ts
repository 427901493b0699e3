import { readFileSync } from 'node:fs';
import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { type CallHandler, type ExecutionContext, Injectable, Module, type NestInterceptor } from '@nestjs/common';
import { APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { GraphQLModule, Query, Resolver } from '@nestjs/graphql';
import { beforeAll, describe, expect, it } from 'vitest';
import { RefreshCookieModule } from '../sample-app/refresh-cookie.js';
import { onEveryEnvironment, PASSWORD, TestEnvironment, type TestApp } from './fixtures/app.js';
import { type Answer, bearer } from './fixtures/http.js';

/** A cookie that the application itself sets on each response. */
const THEME = 'theme=dark';

@Injectable()
class ThemeCookie implements NestInterceptor {
  constructor(private readonly host: HttpAdapterHost) {}

  intercept(context: ExecutionContext, next: CallHandler) {
    this.host.httpAdapter.appendHeader(context.switchToHttp().getResponse(), 'Set-Cookie', THEME);
    return next.handle();
  }
}

@Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: ThemeCookie }] })
class ThemeModule {}

describe('The refresh cookie of the sample application', () => {
  onEveryEnvironment(
    (environment) => {
      let app: TestApp;
      beforeAll(async () => {
        app = await environment.boot({ options: { refresh: { idle: '1h' } }, imports: [RefreshCookieModule] });
      });

      type Headers = readonly (readonly [string, string])[];
      const mark = ['X-Refresh-Cookie', '1'] as const;
      const fromPage = (): Headers => [mark, ['Origin', app.origin]];

      const logIn = async (headers: Headers = fromPage()): Promise<Answer> => {
        const { username } = await app.createUser();
        return app.send('/auth/login', { method: 'POST', headers, body: { username, password: PASSWORD } });
      };

      const refresh = (cookie: string, headers: Headers = fromPage()) =>
        app.send('/auth/refresh', { method: 'POST', headers: [...headers, ['Cookie', cookie]], body: {} });

      /** Name and value of the cookie, as a browser sends them back. */
      const cookieOf = ({ headers }: Answer) => headers['set-cookie']!.split(';', 1)[0]!;

      const FORGET = 'refresh_token=; Path=/auth/refresh; Max-Age=0; HttpOnly; SameSite=Strict';

      it('holds the refresh token, which the page cannot read', async () => {
        const login = await logIn();
        expect(login.status).toBe(200);
        expect(login.json).not.toHaveProperty('refreshToken');
        expect(login.headers['set-cookie']).toMatch(
          /^refresh_token=ext_[\w-]+; Path=\/auth\/refresh; Max-Age=3600; HttpOnly; SameSite=Strict$/,
        );
        const renewed = await refresh(cookieOf(login));
        expect(renewed.json).toMatchObject({ deviceId: login.json.deviceId, token: expect.stringMatching(/^ext_/) });
        expect(renewed.json).not.toHaveProperty('refreshToken');
        expect(cookieOf(renewed)).not.toBe(cookieOf(login));
        expect((await refresh(cookieOf(renewed))).status).toBe(200);
      });

      it('is deleted with the session, and when its token is rejected', async () => {
        const login = await logIn();
        const body = {};
        const headers = [...fromPage(), ...bearer(login.json.token)];
        const logout = await app.send('/auth/logout', { method: 'POST', headers, body });
        expect(logout).toMatchObject({ status: 204, headers: { 'set-cookie': FORGET } });
        const refused = await refresh(cookieOf(login));
        expect(refused).toMatchObject({ status: 401, headers: { 'set-cookie': FORGET } });
        expect(refused.json.code).toBe('refresh_invalid');
      });

      it.each([
        ['a body', { body: {} }],
        ['no body', {}],
      ])('is read from a refresh request with %s', async (_, body) => {
        const cookie = cookieOf(await logIn());
        const headers = [...fromPage(), ['Cookie', cookie] as const];
        const renewed = await app.send('/auth/refresh', { method: 'POST', headers, ...body });
        expect(renewed).toMatchObject({ status: 200, json: { token: expect.stringMatching(/^ext_/) } });
        expect(cookieOf(renewed)).not.toBe(cookie);
      });

      it('may be absent: nobody is signed in in that browser, which is not an error', async () => {
        const { status, text, headers } = await refresh('other=1');
        expect({ status, text }).toEqual({ status: 204, text: '' });
        expect(headers).not.toHaveProperty('set-cookie');
      });

      it.each([
        ['all others are logged out', 'POST', '/auth/logout-all', { keepCurrent: true }],
        ['the page marks what has no part in it', 'GET', '/me', undefined],
      ])('is kept when %s', async (_, method, path, body) => {
        const login = await logIn();
        const headers = [...fromPage(), ...bearer(login.json.token)];
        const answer = await app.send(path, { method, headers, body });
        expect(answer.status).toBe(200);
        expect(answer.headers).not.toHaveProperty('set-cookie');
        expect((await refresh(cookieOf(login))).status).toBe(200);
      });

      it('does not change other cookies of the response', async () => {
        const imports = [ThemeModule, RefreshCookieModule];
        const themed = await environment.boot({ options: { refresh: {} }, imports });
        const { username } = await themed.createUser();
        const { headers } = await themed.send('/auth/login', {
          method: 'POST',
          headers: [mark, ['Origin', themed.origin]],
          body: { username, password: PASSWORD },
        });
        expect(headers['set-cookie']).toMatch(/^theme=dark,refresh_token=ext_/);
      });

      it('is read on the refresh route only: sent with a login, it replaces no password', async () => {
        const cookie = cookieOf(await logIn());
        const login = await logIn([...fromPage(), ['Cookie', cookie]]);
        expect(login.status).toBe(200);
        expect(cookieOf(login)).not.toBe(cookie);
      });

      it('is kept after a wrong password in another window', async () => {
        const { username } = await app.createUser();
        const body = { username, password: 'wrong' };
        const wrong = await app.send('/auth/login', { method: 'POST', headers: fromPage(), body });
        expect(wrong.status).toBe(401);
        expect(wrong.headers).not.toHaveProperty('set-cookie');
      });

      it.each([
        ['of another site', [mark, ['Origin', 'https://evil.example']]],
        ['of no page', [mark]],
        ['of a frame without an origin', [mark, ['Origin', 'null']]],
      ] as const)('is neither read nor set for a request %s', async (_, headers) => {
        const cookie = cookieOf(await logIn());
        expect(await logIn(headers)).toMatchObject({
          status: 403,
          headers: expect.not.objectContaining({ 'set-cookie': expect.anything() }),
        });
        expect((await refresh(cookie, headers)).status).toBe(403);
        expect((await refresh(cookie)).status).toBe(200);
      });

      it('is not read from a request without the mark header, from a form, or if it was sent twice', async () => {
        const cookie = cookieOf(await logIn());
        expect((await refresh(cookie, [['Origin', app.origin]])).status).toBe(401);
        expect((await refresh(`${cookie}; refresh_token=planted`)).status).toBe(204);
        const form = [...fromPage(), ['Cookie', cookie], ['Content-Type', 'text/plain']] as const;
        expect((await app.send('/auth/refresh', { method: 'POST', headers: form, rawBody: '{}' })).status).not.toBe(
          200,
        );
        expect((await refresh(`other=1; ${cookie}`)).status).toBe(200);
      });

      it('does not affect clients without cookies', async () => {
        const login = await logIn([]);
        expect(login.json.refreshToken).toMatch(/^ext_/);
        expect(login.headers).not.toHaveProperty('set-cookie');
        const { refreshToken } = login.json;
        expect((await app.post('/auth/refresh', { refreshToken })).json.refreshToken).toMatch(/^ext_/);
      });
    },
    { databases: ['sqlite'] },
  );

  it('is not used in a GraphQL resolver, which has no such request', async () => {
    @Resolver()
    class GreetingResolver {
      @Query(() => String)
      greeting() {
        return 'hello';
      }
    }
    @Module({ providers: [GreetingResolver] })
    class GreetingModule {}
    const graphql = GraphQLModule.forRoot<ApolloDriverConfig>({
      driver: ApolloDriver,
      autoSchemaFile: true,
      graphiql: false,
    });
    const environment = new TestEnvironment('sqlite', 'express');
    await environment.open();
    const app = await environment.boot({ imports: [RefreshCookieModule, graphql, GreetingModule] });
    const { json } = await app.post('/graphql', { query: '{ greeting }' });
    expect(json).toEqual({ data: { greeting: 'hello' } });
    await environment.close();
  });

  it('is quoted in the guide exactly as it is', () => {
    const read = (path: string) => readFileSync(new URL(path, import.meta.url), 'utf8');
    expect(read('../docs/browsers.md')).toContain(read('../sample-app/refresh-cookie.ts'));
  });
});
