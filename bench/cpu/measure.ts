import type { CanActivate, ExecutionContext, INestApplication, Type } from '@nestjs/common';
import { Module } from '@nestjs/common';
import { ModuleRef, NestFactory } from '@nestjs/core';
import { AuthGuard } from '@nestjs/passport';
import { ExpiringTokenGuard } from 'nestjs-expiring-token';
import type { Contestant, Setting } from '../contestants/contestant.js';
import { ours, oursCached, oursWithLastUse } from '../contestants/ours.js';
import { tunedJwt } from '../contestants/passport-jwt.js';
import type { Postgres } from '../machine/postgres.js';
import { type Bound, cpuTable, excesses } from './figures.js';

/** Number of calls at once, as `wrk` has connections. */
const CONCURRENCY = 32;
const BATCHES = 150;
const USERS = 200;

/** A guard that only checks that there is a header. */
class BareGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const request = context.switchToHttp().getRequest<{ headers: { authorization?: string }; user?: unknown }>();
    request.user = {};
    return request.headers.authorization !== undefined;
  }
}

const JwtGuard = AuthGuard('jwt');

interface Measured {
  create: (setting: Setting) => Contestant;
  guard: Type<CanActivate>;
}

const MEASURED = {
  'bare guard': { create: tunedJwt, guard: BareGuard },
  'passport-jwt tuned': { create: tunedJwt, guard: JwtGuard },
  'always fresh': { create: ours, guard: ExpiringTokenGuard },
  cached: { create: oursCached, guard: ExpiringTokenGuard },
  'with last use and `idle`': { create: oursWithLastUse, guard: ExpiringTokenGuard },
} satisfies Record<string, Measured>;

type GuardName = keyof typeof MEASURED;
const NAMES = Object.keys(MEASURED) as GuardName[];

/**
 * Above the usual figures, for a machine on which other programs run: they take the caches of the processor from a process that
 * waits for its database.
 */
const BOUNDS: readonly Bound<GuardName>[] = [
  { measured: 'always fresh', peer: 'passport-jwt tuned', atMost: 1.8 },
  { measured: 'cached', peer: 'passport-jwt tuned', atMost: 0.4 },
  { measured: 'with last use and `idle`', peer: 'always fresh', atMost: 1.15 },
];

/** CPU per call of each guard, in microseconds, by round. */
export interface GuardCpu {
  roundsUs: Record<GuardName, number[]>;
}

interface Running {
  name: GuardName;
  app: INestApplication;
  contestant: Contestant;
  call: () => Promise<void>;
}

/** What a guard and Passport read of a call of a handler. Nest creates such an object for each call too. */
export function contextOf(request: object, handler: () => void, controller: Type): ExecutionContext {
  const parameters = [request, { getHeader: () => undefined, setHeader: () => undefined }, () => undefined];
  const http = { getRequest: () => parameters[0], getResponse: () => parameters[1], getNext: () => parameters[2] };
  return {
    getType: () => 'http',
    getArgs: () => parameters,
    getHandler: () => handler,
    getClass: () => controller,
    switchToHttp: () => http,
  } as unknown as ExecutionContext;
}

async function start(name: GuardName, postgres: Postgres): Promise<Running> {
  const { create, guard: Guard }: Measured = MEASURED[name];
  const postgresUrl = await postgres.createDatabase(`cpu ${name}`);
  const contestant = create({ adapter: 'express', postgresUrl, sqliteFile: '' });
  @Module(contestant.module)
  class ApplicationModule {}
  class Controller {}
  const handler = () => undefined;
  const app = await NestFactory.create(ApplicationModule, { logger: false });
  await app.init();
  const guard = await app.get(ModuleRef).create(Guard);
  const { valid } = await contestant.logIn(app, USERS);
  let index = 0;
  const call = async () => {
    const authorization = valid[index++ % valid.length]!.credential.value;
    const request = {
      method: 'GET',
      url: '/me',
      headers: { authorization },
      rawHeaders: ['Authorization', authorization],
    };
    if ((await guard.canActivate(contextOf(request, handler, Controller))) !== true) throw new Error('rejected');
  };
  return { name, app, contestant, call };
}

/** Calls a guard, many calls at once, and returns the CPU time of one in microseconds. */
async function measureRound({ app, contestant, call }: Running): Promise<number> {
  await contestant.prepareRound?.(app);
  const before = process.cpuUsage();
  for (let batch = 0; batch < BATCHES; batch++) await Promise.all(Array.from({ length: CONCURRENCY }, call));
  const { user, system } = process.cpuUsage(before);
  return (user + system) / (BATCHES * CONCURRENCY);
}

/** Measures what guards cost the process itself, without the server around them. */
export async function measureGuardCpu(rounds: number, postgres: Postgres): Promise<GuardCpu> {
  const running: Running[] = [];
  for (const name of NAMES) running.push(await start(name, postgres));
  const roundsUs = Object.fromEntries(NAMES.map((name) => [name, [] as number[]])) as GuardCpu['roundsUs'];
  // The first round warms up and does not count.
  for (let round = 0; round <= rounds; round++) {
    for (const each of running) {
      const us = await measureRound(each);
      if (round > 0) roundsUs[each.name].push(us);
    }
  }
  for (const { app } of running) await app.close();
  return { roundsUs };
}

/** The figures in Markdown. */
export const guardCpuTable = ({ roundsUs }: GuardCpu): string => cpuTable('guard', roundsUs, 'passport-jwt tuned');

/** What is above its bound, one line each. */
export const guardCpuExcesses = ({ roundsUs }: GuardCpu): string[] => excesses(BOUNDS, roundsUs);
