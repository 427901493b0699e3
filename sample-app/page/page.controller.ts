import cluster from 'node:cluster';
import { readdirSync, readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { Controller, Get, Header, NotFoundException, Param, Res, UseGuards } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { CurrentUser, ExpiringTokenGuard, User } from 'nestjs-expiring-token';

const FILES = new URL('files/', import.meta.url);

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** Content security policy: only the files of this page, no framing by other pages, and no text that becomes script. */
export const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join('; ');

const HEADERS = {
  'Content-Security-Policy': POLICY,
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Resource-Policy': 'same-origin',
  // The browser caches the file but revalidates it each time; Express responds with 304 if the ETag matches.
  'Cache-Control': 'no-cache',
};

interface Response {
  set(headers: Record<string, string>): unknown;
}

/** Serves the page at `/`, and the signed-in user at `/me`. */
@ApiExcludeController()
@Controller()
export class PageController {
  private readonly files = new Map(
    readdirSync(FILES).map((name) => [name, readFileSync(new URL(name, FILES), 'utf8')]),
  );

  @Get()
  index(@Res({ passthrough: true }) response: Response): string {
    return this.file('index.html', response);
  }

  @Get('page/:name')
  file(@Param('name') name: string, @Res({ passthrough: true }) response: Response): string {
    const text = this.files.get(name);
    if (text === undefined) throw new NotFoundException(`There is no file ${name}`);
    response.set({ ...HEADERS, 'Content-Type': TYPES[extname(name)]! });
    return text;
  }

  @Get('me')
  @Header('Cache-Control', 'no-store')
  @UseGuards(ExpiringTokenGuard)
  me(@CurrentUser() { id, username }: User) {
    // The cluster example has a status page, which the page links to.
    return { id, username, isInCluster: cluster.isWorker };
  }
}
