import { Injectable, type OnApplicationBootstrap } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { describeError } from '../../errors/describe-error.js';
import { PackageLogger } from '../../errors/package.logger.js';
import type { ExpiringTokenEvents } from './event.interfaces.js';

/** Emits an event to the application. */
export type Emit = <Name extends keyof ExpiringTokenEvents>(name: Name, event: ExpiringTokenEvents[Name]) => void;

interface LogLine {
  readonly level: 'log' | 'warn';
  readonly message: string;
}

/** The events that are logged in any case, since each may be the theft of a refresh token. */
const LOG_LINES: { readonly [Name in keyof ExpiringTokenEvents]?: (event: ExpiringTokenEvents[Name]) => LogLine } = {
  'expiring-token.reused': () => ({
    level: 'warn',
    message: 'A refresh token was reused, so its device was revoked',
  }),
  'expiring-token.replayed': ({ refused }) =>
    refused
      ? { level: 'warn', message: 'A refresh token was repeated too often or by another user agent, and was rejected' }
      : { level: 'log', message: 'A refresh token was repeated within its grace, and got the same pair' },
};

type Listener = (...parameters: unknown[]) => unknown;

/** The part of `@nestjs/event-emitter`'s emitter that is used here. */
interface Emitter {
  /** The name of the last event. A listener of several events reads it. */
  event?: string;
  listeners(event: string): Listener[];
  listenersAny(): Listener[];
}

const isEmitter = (instance: unknown): instance is Emitter =>
  typeof (instance as Partial<Emitter> | null | undefined)?.listenersAny === 'function';

/**
 * Emits events through `@nestjs/event-emitter`, if the application imports it. No listener can change an answer: each one is
 * called later, and its failure is logged.
 */
@Injectable()
export class TokenEvents implements OnApplicationBootstrap {
  private readonly logger = new PackageLogger();
  private emitter?: Emitter;

  constructor(private readonly modules: ModulesContainer) {}

  onApplicationBootstrap(): void {
    // Found by the name of its module: an import of the optional package would make it a required one.
    const module = [...this.modules.values()].find(({ metatype }) => metatype.name === 'EventEmitterModule');
    this.emitter = [...(module?.providers.values() ?? [])].map(({ instance }) => instance).find(isEmitter);
  }

  /** Whether the application listens to an event, which may be costly to prepare. */
  hasListeners(name: keyof ExpiringTokenEvents): boolean {
    const { emitter } = this;
    return emitter !== undefined && emitter.listeners(name).length + emitter.listenersAny().length > 0;
  }

  /** Logs and emits an event whose cause is committed already. Nothing is emitted without `@nestjs/event-emitter`. */
  readonly emit: Emit = (name, event) => {
    const { emitter } = this;
    const line = LOG_LINES[name]?.(event);
    if (line) this.logger[line.level](`${line.message}: ${JSON.stringify(event)}`);
    // Later, so that a slow listener delays no answer.
    if (emitter) setImmediate(() => this.dispatch(emitter, name, event));
  };

  /**
   * Calls each listener separately. The emitter's own method would stop at the first listener that throws, and a rejection of
   * an earlier listener would end the process.
   */
  private dispatch(emitter: Emitter, name: string, event: object): void {
    const call = async (listener: Listener, parameters: unknown[]) => {
      try {
        await listener.apply(emitter, parameters);
      } catch (error) {
        this.logger.error(`A listener of ${name} failed: ${describeError(error)}`);
      }
    };
    emitter.event = name;
    // The list is complete before the first call: a listener that is called once removes itself from the emitter's own list.
    const calls = [
      ...emitter.listeners(name).map((listener) => () => call(listener, [event])),
      ...emitter.listenersAny().map((listener) => () => call(listener, [name, event])),
    ];
    for (const start of calls) void start();
  }
}
