import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { compile } from './fixtures/compile.js';

/** Longest time that a process may take to start, do its work and end on a busy machine. */
const PATIENCE_MS = 60_000;

/** Stand-ins for packages that an application has not installed: importing one throws. */
const ABSENT = ['@nestjs/swagger', '@nestjs/event-emitter'];

const asModule = (source: string) => `data:text/javascript,${encodeURIComponent(source)}`;

const HOOKS = asModule(`
  export function resolve(specifier, context, next) {
    if (${JSON.stringify(ABSENT)}.some((name) => specifier === name || specifier.startsWith(name + '/'))) {
      throw new Error('Asked for ' + specifier);
    }
    return next(specifier, context);
  }
`);

/** Conditions for both `import` and `require`. */
const WITHOUT = asModule(`
  import { Module, register } from 'node:module';
  register(${JSON.stringify(HOOKS)});
  const load = Module._load;
  Module._load = (request, ...rest) => {
    if (${JSON.stringify(ABSENT)}.includes(request)) throw new Error('Asked for ' + request);
    return load(request, ...rest);
  };
`);

const run = promisify(execFile);

it(
  'Without @nestjs/swagger and @nestjs/event-emitter the package works and never imports them',
  async () => {
    const script = join(dirname(await compile()), 'bare.js');
    const { stdout } = await run(process.execPath, ['--import', WITHOUT, script], { timeout: PATIENCE_MS });
    expect(stdout).toBe('200 200 200 204 401\n');
  },
  PATIENCE_MS,
);

it(
  'A process that imports an absent optional package is detected',
  async () => {
    const ask = `
      import { createRequire } from 'node:module';
      const require = createRequire(${JSON.stringify(import.meta.url)});
      for (const name of ${JSON.stringify(ABSENT)}) {
        for (const load of [(asked) => import(asked), async (asked) => require(asked)]) {
          await load(name).catch(({ message }) => console.log(message));
        }
      }
    `;
    const { stdout } = await run(process.execPath, ['--import', WITHOUT, '--input-type=module', '--eval', ask]);
    expect(stdout).toBe(ABSENT.map((name) => `Asked for ${name}\n`.repeat(2)).join(''));
  },
  PATIENCE_MS,
);

it.each(['cache.redis', 'loginThrottle.redis'])(
  'Without a Redis package, a URL for %s is an error that names the option and the packages',
  async (option) => {
    const absent = `
      export function resolve(specifier, context, next) {
        if (!['ioredis', 'redis'].includes(specifier)) return next(specifier, context);
        throw Object.assign(new Error('not found'), { code: 'ERR_MODULE_NOT_FOUND' });
      }
    `;
    const hooks = asModule(`import { register } from 'node:module'; register(${JSON.stringify(asModule(absent))});`);
    const file = join(dirname(await compile()), '../../../lib/redis/redis-client.js');
    const open = `
      import { openRedis } from ${JSON.stringify(file)};
      await openRedis(${JSON.stringify(option)}, 'redis://:hunter2@127.0.0.1').catch(({ message }) => console.log(message));
    `;
    const { stdout } = await run(process.execPath, ['--import', hooks, '--input-type=module', '--eval', open]);
    expect(stdout).toContain(`ExpiringTokenModule: ${option}: it is a URL, and there is no Redis client`);
    expect(stdout).toContain('Install ioredis or redis');
    expect(stdout).not.toContain('hunter2');
  },
  PATIENCE_MS,
);
