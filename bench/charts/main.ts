import { writeCharts } from './write.js';

await writeCharts();
