import { NestFactory } from '@nestjs/core';
import { serveDocs } from '../../sample-app/docs.js';
import { ClusterModule } from './cluster.module.js';
import { ClusterStatus } from './cluster-status.js';

const app = await NestFactory.create(ClusterModule, { logger: ['warn', 'error', 'fatal'] });
app.enableShutdownHooks();
app.use(app.get(ClusterStatus).count);
serveDocs(app, 'docs');
await app.listen(process.env.PORT ?? 3000);
