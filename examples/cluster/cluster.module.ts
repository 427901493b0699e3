import { Module } from '@nestjs/common';
import { DemoUser } from '../../sample-app/demo-user.js';
import { modules } from '../../sample-app/modules.js';
import { PageController } from '../../sample-app/page/page.controller.js';
import { redisOptions } from '../../sample-app/redis.js';
import { ClusterStatus } from './cluster-status.js';
import { MeasuredRedis } from './measured-redis.js';
import { StatusController } from './status.controller.js';

/** The sample application as one of several processes. Each process reports its figures. */
@Module({
  imports: modules(redisOptions(new MeasuredRedis(process.env.REDIS_URL!))),
  controllers: [PageController, StatusController],
  providers: [DemoUser, ClusterStatus],
})
export class ClusterModule {}
