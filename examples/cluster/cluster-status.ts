import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { ExpiringTokenService } from 'nestjs-expiring-token';
import { type ProcessStatus, report } from './report.js';

const REPORT_EVERY_MS = 250;

/** Reports the figures of this process, and stores those of all processes. */
@Injectable()
export class ClusterStatus implements OnApplicationBootstrap {
  private requests = 0;
  /** The last message of the primary. */
  processes: ProcessStatus[] = [];

  constructor(private readonly tokens: ExpiringTokenService) {}

  onApplicationBootstrap(): void {
    process.on('message', (processes: ProcessStatus[]) => (this.processes = processes));
    setInterval(() => {
      const { hits: cacheHits, lookUps, revocations } = this.tokens.cacheStatus();
      report({ figures: { requests: this.requests, cacheHits, lookUps, revocations } });
    }, REPORT_EVERY_MS).unref();
  }

  /** Middleware that counts requests, except those of the status page. */
  readonly count = ({ url }: { url: string }, _: unknown, next: () => void): void => {
    if (!url.startsWith('/status')) this.requests++;
    next();
  };
}
