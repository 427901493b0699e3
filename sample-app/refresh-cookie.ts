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

/** A page sends it to have its refresh token kept in the cookie. Other clients get theirs in the body, as ever. */
const MARK = 'x-refresh-cookie';
const COOKIE = 'refresh_token';
/** The option `refresh.header`, in lower case. */
const HEADER = 'refresh-token';
/** The only route that the browser shows the cookie to, and that it is read on. */
const REFRESH = '/auth/refresh';
const ENDS = ['/auth/logout', '/auth/logout-all'];
const ROUTES = ['/auth/login', REFRESH, ...ENDS];
/** How long a browser keeps a cookie at most (RFC 6265bis §5.5): for a refresh token that never expires. */
const LONGEST_SECONDS = 400 * 24 * 60 * 60;

interface NodeRequest {
  headers: { cookie?: string; origin?: string; [MARK]?: string; [HEADER]?: string };
  rawHeaders: string[];
}

/** What requests of Express and of Fastify have in common. */
interface BrowserRequest extends NodeRequest {
  /** Fastify: Node's own request. */
  raw?: NodeRequest;
  protocol: string;
  host: string;
  url: string;
  body?: { keepCurrent?: unknown };
}

interface Answer {
  refreshToken?: string;
  refreshExpiresIn?: number | null;
}

/** Keeps the refresh token of a browser in a cookie that no script can read. docs/browsers.md tells the dangers. */
@Injectable()
class RefreshCookie implements NestInterceptor<Answer | undefined> {
  constructor(private readonly host: HttpAdapterHost) {}

  intercept(context: ExecutionContext, next: CallHandler<Answer | undefined>): Observable<unknown> {
    // Resolvers and gateways have interceptors too, and no such request.
    if (context.getType() !== 'http') return next.handle();
    const request = context.switchToHttp().getRequest<BrowserRequest>();
    const path = request.url.split('?', 1)[0]!;
    if (request.headers[MARK] === undefined || !ROUTES.includes(path)) return next.handle();
    // The browser says it, and no script of another site can make it say this.
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
        // Nobody is signed in. That is no error, which each first visit would write to the browser's console.
        httpAdapter.status(response, 204);
        return of(undefined);
      }
      presentToken(request.raw ?? request, token);
    }
    return next.handle().pipe(
      map((answer) => {
        const { refreshToken, ...rest } = answer ?? {};
        if (refreshToken !== undefined) keep(refreshToken, rest.refreshExpiresIn ?? LONGEST_SECONDS);
        else if (ENDS.includes(path) && request.body?.keepCurrent !== true) keep('', 0);
        return answer && rest;
      }),
      catchError((error: unknown) => {
        if (error instanceof ExpiringTokenException && error.code === 'refresh_invalid') keep('', 0);
        throw error;
      }),
    );
  }
}

/** Adds the header that clients without cookies send, whether there is a body or not. */
function presentToken({ headers, rawHeaders }: NodeRequest, token: string): void {
  headers[HEADER] = token;
  rawHeaders.push(HEADER, token);
}

/** The refresh token; none where there are two, one of which another host of the domain may have planted. */
function readCookie(header = ''): string | undefined {
  const [only, ...more] = header.split(/; */).filter((pair) => pair.startsWith(`${COOKIE}=`));
  return more.length === 0 ? only?.slice(COOKIE.length + 1) : undefined;
}

@Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: RefreshCookie }] })
export class RefreshCookieModule {}
