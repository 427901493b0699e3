import {
  type CallHandler,
  type ExecutionContext,
  ForbiddenException,
  Injectable,
  Module,
  type NestInterceptor,
} from '@nestjs/common';
import { APP_INTERCEPTOR } from '@nestjs/core';
import { ExpiringTokenException } from 'nestjs-expiring-token';
import { catchError, map, type Observable } from 'rxjs';

/** A page sends it to have its refresh token kept in the cookie. Other clients get theirs in the body, as ever. */
const MARK = 'x-refresh-cookie';
const COOKIE = 'refresh_token';
/** The only route that the browser shows the cookie to, and that it is read on. */
const PATH = '/auth/refresh';
/** How long a browser keeps a cookie at most (RFC 6265bis §5.5): for a refresh token that never expires. */
const LONGEST_SECONDS = 400 * 24 * 60 * 60;

/** What requests of Express and of Fastify have in common. */
interface BrowserRequest {
  headers: { cookie?: string; origin?: string; [MARK]?: string };
  protocol: string;
  host: string;
  url: string;
  body?: unknown;
}

interface BrowserResponse {
  header(name: string, value: string): unknown;
}

interface Answer {
  refreshToken?: string;
  refreshExpiresIn?: number | null;
}

/** Keeps the refresh token of a browser in a cookie that no script can read. docs/browsers.md tells the dangers. */
@Injectable()
class RefreshCookie implements NestInterceptor<Answer | undefined> {
  intercept(context: ExecutionContext, next: CallHandler<Answer | undefined>): Observable<unknown> {
    // Resolvers and gateways have interceptors too, and no such request.
    if (context.getType() !== 'http') return next.handle();
    const request = context.switchToHttp().getRequest<BrowserRequest>();
    if (request.headers[MARK] === undefined) return next.handle();
    // The browser says it, and no script of another site can make it say this.
    if (request.headers.origin !== `${request.protocol}://${request.host}`) {
      throw new ForbiddenException('The refresh cookie is for pages of this origin');
    }
    const keep = (token: string, seconds: number) => {
      const secure = request.protocol === 'https' ? '; Secure' : '';
      const cookie = `${COOKIE}=${token}; Path=${PATH}; Max-Age=${seconds}; HttpOnly; SameSite=Strict${secure}`;
      context.switchToHttp().getResponse<BrowserResponse>().header('Set-Cookie', cookie);
    };
    const presented = readCookie(request.headers.cookie);
    const isRefresh = request.url.split('?', 1)[0] === PATH;
    if (isRefresh && presented !== undefined) request.body = { refreshToken: presented };
    return next.handle().pipe(
      map((answer) => {
        const { refreshToken, ...rest } = answer ?? {};
        // A marked request that is answered without one has ended the session.
        if (refreshToken === undefined) keep('', 0);
        else keep(refreshToken, rest.refreshExpiresIn ?? LONGEST_SECONDS);
        return answer && rest;
      }),
      catchError((error: unknown) => {
        if (error instanceof ExpiringTokenException && error.code === 'refresh_invalid') keep('', 0);
        throw error;
      }),
    );
  }
}

/** The refresh token; none where there are two, one of which another host of the domain may have planted. */
function readCookie(header = ''): string | undefined {
  const [only, ...more] = header.split(/; */).filter((pair) => pair.startsWith(`${COOKIE}=`));
  return more.length === 0 ? only?.slice(COOKIE.length + 1) : undefined;
}

@Module({ providers: [{ provide: APP_INTERCEPTOR, useClass: RefreshCookie }] })
export class RefreshCookieModule {}
