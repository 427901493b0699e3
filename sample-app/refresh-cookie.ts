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
const COOKIE_MODE_HEADER = 'x-refresh-cookie';
const COOKIE = 'refresh_token';
/** The option `refresh.header`, in lower case. */
const REFRESH_HEADER = 'refresh-token';
/** The only route to which the browser sends the cookie, and on which this interceptor reads it. */
const REFRESH_PATH = '/auth/refresh';
const LOGOUT_PATHS = ['/auth/logout', '/auth/logout-all'];
const PATHS = ['/auth/login', REFRESH_PATH, ...LOGOUT_PATHS];
/** The maximum age of a cookie in a browser (RFC 6265bis §5.5). It is used for a refresh token that never expires. */
const MAX_AGE_SECONDS = 400 * 24 * 60 * 60;

interface NodeRequest {
  headers: { cookie?: string; origin?: string; [COOKIE_MODE_HEADER]?: string; [REFRESH_HEADER]?: string };
  rawHeaders: string[];
}

/** The common part of the requests of Express and of Fastify. */
interface BrowserRequest extends NodeRequest {
  /** The underlying Node.js request; Fastify only. */
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
    // Nest also runs interceptors for resolvers and gateways, which have no HTTP request.
    if (context.getType() !== 'http') return next.handle();
    const request = context.switchToHttp().getRequest<BrowserRequest>();
    const path = request.url.split('?', 1)[0]!;
    if (request.headers[COOKIE_MODE_HEADER] === undefined || !PATHS.includes(path)) return next.handle();
    // The browser sets the header Origin, and no script of another site can forge it. This prevents cross-site requests (CSRF).
    if (request.headers.origin !== `${request.protocol}://${request.host}`) {
      throw new ForbiddenException('The refresh cookie is for pages of this origin');
    }
    const { httpAdapter } = this.host;
    const response: unknown = context.switchToHttp().getResponse();
    const setCookie = (token: string, seconds: number) => {
      const secure = request.protocol === 'https' ? '; Secure' : '';
      const cookie = `${COOKIE}=${token}; Path=${REFRESH_PATH}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
      httpAdapter.appendHeader(response, 'Set-Cookie', cookie);
    };
    if (path === REFRESH_PATH) {
      const token = readCookie(request.headers.cookie);
      if (token === undefined) {
        // Nobody is signed in. An error status would appear in the browser's console on each first visit.
        httpAdapter.status(response, 204);
        return of(undefined);
      }
      addRefreshHeader(request.raw ?? request, token);
    }
    return next.handle().pipe(
      map((body) => {
        const { refreshToken, ...rest } = body ?? {};
        if (refreshToken !== undefined) setCookie(refreshToken, rest.refreshExpiresIn ?? MAX_AGE_SECONDS);
        else if (LOGOUT_PATHS.includes(path) && request.body?.keepCurrent !== true) setCookie('', 0);
        return body && rest;
      }),
      catchError((error: unknown) => {
        if (error instanceof ExpiringTokenException && error.code === 'refresh_invalid') setCookie('', 0);
        throw error;
      }),
    );
  }
}

/** Adds the header in which clients without cookies send their refresh token. It works with and without a body. */
function addRefreshHeader({ headers, rawHeaders }: NodeRequest, token: string): void {
  headers[REFRESH_HEADER] = token;
  rawHeaders.push(REFRESH_HEADER, token);
}

/** Returns the refresh token. Returns undefined if there are two, because another host of the domain may have planted one. */
function readCookie(header = ''): string | undefined {
  const [first, ...others] = header.split(/; */).filter((pair) => pair.startsWith(`${COOKIE}=`));
  return others.length === 0 ? first?.slice(COOKIE.length + 1) : undefined;
}

@Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: RefreshCookie }] })
export class RefreshCookieModule {}
