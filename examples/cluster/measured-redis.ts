import { Redis } from 'ioredis';
import { report } from './report.js';

/** The package publishes the ids of users whose tokens changed on this channel. Its other channel is for heartbeats. */
const isRevocation = (channel: string | Buffer): boolean => /^expiring-token:.+:revoked$/.test(String(channel));

/** A clock that all processes of a machine share. */
const nowMs = () => Number(process.hrtime.bigint()) / 1e6;

/** Reports when a revocation was published, and when this process received it. */
export class MeasuredRedis extends Redis {
  override publish(channel: string | Buffer, message: string | Buffer): Promise<number> {
    if (isRevocation(channel)) report({ published: { userId: String(message), atMs: nowMs() } });
    return super.publish(channel, message);
  }

  /** The package subscribes on a duplicate of the client. */
  override duplicate(): Redis {
    return super.duplicate().on('message', (channel, userId) => {
      if (isRevocation(channel)) report({ received: { userId, atMs: nowMs() } });
    });
  }
}
