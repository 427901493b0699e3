import {
  type CallHandler,
  type ExecutionContext,
  ForbiddenException,
  Injectable,
  Module,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR, HttpAdapterHost } from '@nestjs/core';
import { ExpiringTokenException } from 'nestjs-expiring-token';
import { catchError, map, type Observable, of } from 'rxjs';

/** A page sends this header to get its refresh token in the cookie. Other clients get theirs in the body. */
const MARK = 'x-refresh-cookie';
const COOKIE = 'refresh_token';
/** The option `refresh.header`, in lower case. */
const HEADER = 'refresh-token';
/** The only route to which the browser sends the cookie, and on which this interceptor reads it. */
const REFRESH = '/auth/refresh';
const ENDS = ['/auth/logout', '/auth/logout-all'];
const ROUTES = ['/auth/login', REFRESH, ...ENDS];
/** The maximum age of a cookie in a browser (RFC 6265bis §5.5). It is used for a refresh token that never expires. */
const MAX_SECONDS = 400 * 24 * 60 * 60;

interface NodeRequest {
  headers: { cookie?: string; origin?: string; [MARK]?: string; [HEADER]?: string };
  rawHeaders: string[];
}

/** The common part of the requests of Express and of Fastify. */
interface BrowserRequest extends NodeRequest {
  /** Fastify only: Node's own request. */
  raw?: NodeRequest;
  protocol: string;
  host: string;
  url: string;
  body?: { keepCurrent?: unknown };
}

interface TokenResponse {
  refreshToken?: string;
  refreshExpiresIn?: number | null;
}

/** Keeps the refresh token of a browser in a cookie that no script can read. docs/browsers.md describes the dangers. */
@Injectable()
class RefreshCookie implements NestInterceptor<TokenResponse | undefined> {
  constructor(private readonly host: HttpAdapterHost) {}

  intercept(context: ExecutionContext, next: CallHandler<TokenResponse | undefined>): Observable<unknown> {
    // Interceptors also run for resolvers and gateways, which have no such request.
    if (context.getType() !== 'http') return next.handle();
    const request = context.switchToHttp().getRequest<BrowserRequest>();
    const path = request.url.split('?', 1)[0]!;
    if (request.headers[MARK] === undefined || !ROUTES.includes(path)) return next.handle();
    // The browser sets this header itself, so no script of another site can forge it.
    if (request.headers.origin !== `${request.protocol}://${request.host}`) {
      throw new ForbiddenException('The refresh cookie is for pages of this origin');
    }
    const { httpAdapter } = this.host;
    const response: unknown = context.switchToHttp().getResponse();
    const keep = (token: string, seconds: number) => {
      const secure = request.protocol === 'https' ? '; Secure' : '';
      const cookie = `${COOKIE}=${token}; Path=${REFRESH}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
      httpAdapter.appendHeader(response, 'Set-Cookie', cookie);
    };
    if (path === REFRESH) {
      const token = readCookie(request.headers.cookie);
      if (token === undefined) {
        // Nobody is signed in. An error status would appear in the browser's console on each first visit.
        httpAdapter.status(response, 204);
        return of(undefined);
      }
      presentToken(request.raw ?? request, token);
    }
    return next.handle().pipe(
      map((body) => {
        const { refreshToken, ...rest } = body ?? {};
        if (refreshToken !== undefined) keep(refreshToken, rest.refreshExpiresIn ?? MAX_SECONDS);
        else if (ENDS.includes(path) && request.body?.keepCurrent !== true) keep('', 0);
        return body && rest;
      }),
      catchError((error: unknown) => {
        if (error instanceof ExpiringTokenException && error.code === 'refresh_invalid') keep('', 0);
        throw error;
      }),
    );
  }
}

/** Adds the header in which clients without cookies send their refresh token. It works with and without a body. */
function presentToken({ headers, rawHeaders }: NodeRequest, token: string): void {
  headers[HEADER] = token;
  rawHeaders.push(HEADER, token);
}

/** Returns the refresh token. Returns none if there are two, because another host of the domain may have planted one. */
function readCookie(header = ''): string | undefined {
  const [only, ...more] = header.split(/; */).filter((pair) => pair.startsWith(`${COOKIE}=`));
  return more.length === 0 ? only?.slice(COOKIE.length + 1) : undefined;
}

@Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: RefreshCookie }] })
export class RefreshCookieModule {}
