#!/usr/bin/env node
import { Console } from 'node:console';
import { run } from './program.js';

// A data source file may print while it is loaded, for example the banner of dotenv. stdout is for results only.
globalThis.console = new Console(process.stderr);

// A connection pool that the data source file opened would keep the process alive.
process.exit(await run(process.argv));
