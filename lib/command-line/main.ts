#!/usr/bin/env node
import { Console } from 'node:console';
import { run } from './program.js';

// What the file of a data source prints as it is loaded, the banner of dotenv say, is no part of a result.
globalThis.console = new Console(process.stderr);

// A pool or a client that the file opened would keep the process alive.
process.exit(await run(process.argv));
