import { Module } from '@nestjs/common';
import { AppModule } from '../app.module.js';
import { ClusterStatus } from './cluster-status.js';
import { StatusController } from './status.controller.js';

/** The sample application as one of several processes. */
@Module({
  imports: [AppModule],
  controllers: [StatusController],
  providers: [ClusterStatus],
})
export class ClusterModule {}
