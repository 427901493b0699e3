import { Injectable, Logger, type OnApplicationBootstrap } from '@nestjs/common';
import { ModulesContainer } from '@nestjs/core';
import { describe } from '../log-text.js';

/** Payload of `expiring-token.reused`: a refresh token was used again after its time, and its device was ended. */
export interface ReusedEvent {
  /** What `UserStore.getId` returns for its user. */
  userId: string;
  /** The device that was ended. */
  deviceId: string;
}

/** The part of `@nestjs/event-emitter`'s emitter that is used here. */
interface Emitter {
  emitAsync(event: string, payload: object): Promise<unknown>;
}

const isEmitter = (instance: unknown): instance is Emitter =>
  typeof (instance as Partial<Emitter> | null | undefined)?.emitAsync === 'function';

/**
 * Tells the application what happened, after it was committed: through `@nestjs/event-emitter` where the application has it.
 * Whatever a listener does changes no answer.
 */
@Injectable()
export class TokenEvents implements OnApplicationBootstrap {
  private readonly logger = new Logger('ExpiringToken');
  private emitter?: Emitter;

  constructor(private readonly modules: ModulesContainer) {}

  onApplicationBootstrap(): void {
    // Found by the name of its module: importing an optional package would need it to be there.
    const module = [...this.modules.values()].find(({ metatype }) => metatype.name === 'EventEmitterModule');
    this.emitter = [...(module?.providers.values() ?? [])].map(({ instance }) => instance).find(isEmitter);
  }

  /** A theft, or a client that keeps its tokens badly: worth a line in the log in any case. */
  reused(event: ReusedEvent): void {
    this.logger.warn(`A refresh token was used again, its device is ended: ${JSON.stringify(event)}`);
    this.emit('expiring-token.reused', event);
  }

  private emit(name: string, event: object): void {
    // Listeners run later, so that one that is slow delays nobody.
    setImmediate(async () => {
      try {
        await this.emitter?.emitAsync(name, event);
      } catch (error) {
        this.logger.error(`A listener of ${name} failed: ${describe(error)}`);
      }
    });
  }
}
