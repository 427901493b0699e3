import { Module } from '@nestjs/common';
import { Redis } from 'ioredis';
import { DemoUser } from './demo-user.js';
import { modules } from './modules.js';
import { PageController } from './page/page.controller.js';
import { redisOptions } from './redis.js';

const { REDIS_URL } = process.env;

@Module({
  imports: modules(REDIS_URL ? redisOptions(new Redis(REDIS_URL)) : {}),
  controllers: [PageController],
  providers: [DemoUser],
})
export class AppModule {}
