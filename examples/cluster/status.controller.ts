import { readFileSync } from 'node:fs';
import { Controller, Get, Header } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { POLICY } from '../../sample-app/page/page.controller.js';
import { ClusterStatus } from './cluster-status.js';
import type { ProcessStatus } from './report.js';

const read = (name: string) => readFileSync(new URL(`page/${name}`, import.meta.url), 'utf8');

/** Serves the figures of each process, and a page that keeps them up to date. */
@ApiExcludeController()
@Controller()
export class StatusController {
  private readonly html = read('status.html');
  private readonly style = read('status.css');
  private readonly script = read('status.js');

  constructor(private readonly status: ClusterStatus) {}

  @Get('status')
  @Header('Content-Type', 'text/html; charset=utf-8')
  @Header('Content-Security-Policy', POLICY)
  @Header('X-Content-Type-Options', 'nosniff')
  @Header('Referrer-Policy', 'no-referrer')
  page(): string {
    return this.html;
  }

  @Get('status.css')
  @Header('Content-Type', 'text/css; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  styles(): string {
    return this.style;
  }

  @Get('status.js')
  @Header('Content-Type', 'text/javascript; charset=utf-8')
  @Header('X-Content-Type-Options', 'nosniff')
  code(): string {
    return this.script;
  }

  @Get('status.json')
  @Header('Cache-Control', 'no-store')
  figures(): { servedBy: number; processes: ProcessStatus[] } {
    return { servedBy: process.pid, processes: this.status.processes };
  }
}
