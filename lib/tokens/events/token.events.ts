import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import type { TransactionScript } from '../../database/database.js';
import { describeError } from '../../errors/describe-error.js';
import type { ExpiringTokenEvents, ReusedEvent } from './event.interfaces.js';

/** Tells that something happened. */
export type Emit = <Name extends keyof ExpiringTokenEvents>(name: Name, event: ExpiringTokenEvents[Name]) => void;

type Listener = (...parameters: unknown[]) => unknown;

/** The part of `@nestjs/event-emitter`'s emitter that is used here. */
interface Emitter {
  /** The name of the last event, for listeners of several. */
  event?: string;
  listeners(event: string): Listener[];
  listenersAny(): Listener[];
}

const isEmitter = (instance: unknown): instance is Emitter =>
  typeof (instance as Partial<Emitter> | null | undefined)?.listenersAny === 'function';

/**
 * Tells the application what happened, after it was committed: through `@nestjs/event-emitter` where the application has it.
 * Whatever a listener does changes no answer.
 */
@Injectable()
export class TokenEvents implements OnApplicationBootstrap {
  /** Not there where nobody could hear: called as `tell?.(…)`, no payload is made then. */
  emit?: Emit;
  private readonly logger = new Logger('ExpiringToken');

  constructor(private readonly modules: ModulesContainer) {}

  onApplicationBootstrap(): void {
    // Found by the name of its module: importing an optional package would need it to be there.
    const module = [...this.modules.values()].find(({ metatype }) => metatype.name === 'EventEmitterModule');
    const emitter = [...(module?.providers.values() ?? [])].map(({ instance }) => instance).find(isEmitter);
    if (emitter) this.emit = (name, event) => this.dispatch(emitter, name, event);
  }

  /**
   * Tells what happens in a transaction once it is committed, and nothing of one that is rolled back.
   *
   * @param transact - may make the script again, which then begins anew with what it tells
   */
  async afterCommit<T>(
    transact: (script: () => TransactionScript<T>) => Promise<T>,
    script: (tell: Emit | undefined) => TransactionScript<T>,
  ): Promise<T> {
    const { emit } = this;
    if (!emit) return transact(() => script(undefined));
    let happened: Parameters<Emit>[] = [];
    const result = await transact(() => {
      happened = [];
      return script((...event) => happened.push(event));
    });
    for (const event of happened) emit(...event);
    return result;
  }

  /** A theft, or a client that keeps its tokens badly: worth a line in the log in any case. */
  reused(event: ReusedEvent): void {
    this.logger.warn(`A refresh token was used again, its device is ended: ${JSON.stringify(event)}`);
    this.emit?.('expiring-token.reused', event);
  }

  /**
   * Calls each listener by itself. The emitter calls one after the other, and would call none after one that throws, and leave
   * the rejection of an earlier one to end the process.
   */
  private dispatch(emitter: Emitter, name: string, event: object): void {
    const call = async (listener: Listener, parameters: unknown[]) => {
      try {
        await listener.apply(emitter, parameters);
      } catch (error) {
        this.logger.error(`A listener of ${name} failed: ${describeError(error)}`);
      }
    };
    // Later, so that one that is slow delays nobody.
    setImmediate(() => {
      emitter.event = name;
      // All of them first: one that hears once leaves the emitter's own list as it is called.
      const calls = [
        ...emitter.listeners(name).map((listener) => () => call(listener, [event])),
        ...emitter.listenersAny().map((listener) => () => call(listener, [name, event])),
      ];
      for (const start of calls) void start();
    });
  }
}
