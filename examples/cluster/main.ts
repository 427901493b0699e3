import cluster from 'node:cluster';

await (cluster.isPrimary ? import('./primary.js') : import('./worker.js'));
