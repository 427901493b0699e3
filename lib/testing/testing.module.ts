import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';
import type { Duration } from '../options/duration.js';
import { ExpiringTokenOptionsError } from '../errors/expiring-token-options.error.js';
import { CLOCK } from '../expiring-token.constants.js';
import { ExpiringTokenModule } from '../expiring-token.module.js';
import type { ExpiringTokenModuleOptions } from '../expiring-token.module-options.js';
import { OpenConnections } from '../transports/open-connections.js';
import { memoryDatabase } from './memory-database.js';
import { TestClock } from './test-clock.js';

/**
 * Nothing happens that a test did not start: no pruning in the background, no rate limit of failed logins. The module is
 * global, because the module under test does not import it.
 */
const DEFAULTS = { prune: false, loginThrottle: false, isGlobal: true } as const;

/** Options of {@link ExpiringTokenTestingModule.forRoot}: those of `ExpiringTokenModule.forRoot`, and two more. */
export type ExpiringTokenTestingOptions = ExpiringTokenModuleOptions & {
  /**
   * Entities of the application that are not registered with `TypeOrmModule.forFeature`.
   *
   * @defaultValue `[]`
   */
  entities?: DataSourceOptions['entities'];
  /**
   * Starts although `NODE_ENV` is `production`, for example in tests of a production build. Never set it in an application that
   * serves users: its database is in memory, and failed logins are not limited.
   *
   * @defaultValue `false`
   */
  allowProduction?: boolean;
};

/** The application must not run with a database in memory, a clock that stands still, and no rate limit by accident. */
function rejectProduction(): void {
  if (process.env.NODE_ENV !== 'production') return;
  throw new ExpiringTokenOptionsError(
    'allowProduction',
    'ExpiringTokenTestingModule is for tests, and NODE_ENV is "production"',
    'Import ExpiringTokenModule in place of it. If these are tests, set NODE_ENV to "test", or set allowProduction: true.',
  );
}

/**
 * Registers the real module, with its routes and guards, on a database in memory and with a {@link TestClock}.
 *
 * @example
 * ```ts
 * const module = await Test.createTestingModule({
 *   imports: [ExpiringTokenTestingModule.forRoot({ lifespan: '1h' }), NotesModule],
 * }).compile();
 * const app = await module.createNestApplication().init();
 * const ann = await app.get(UserService).create('ann', 'correct horse');
 * const headers = await actingAs(app, ann);
 * app.get(TestClock).advance('1h');
 * await request(app.getHttpServer()).get('/notes').set(headers).expect(401);
 * ```
 */
@Module({})
export class ExpiringTokenTestingModule {
  /**
   * Registers `ExpiringTokenModule`, and the TypeORM data source that it needs.
   *
   * @param options - the lifespan of tokens, or all options of `ExpiringTokenModule.forRoot`, `entities` and
   * `allowProduction`. Other defaults than there: `prune: false`, `loginThrottle: false`, `isGlobal: true`
   * @throws Error when the application starts, if no SQLite driver is installed
   * @throws ExpiringTokenOptionsError when the application starts, if `NODE_ENV` is `production`
   */
  static forRoot(options: Duration | ExpiringTokenTestingOptions = {}): DynamicModule {
    const {
      entities = [],
      allowProduction = false,
      ...moduleOptions
    } = typeof options === 'object' ? options : { lifespan: options };
    const real = ExpiringTokenModule.forRoot({ ...DEFAULTS, ...moduleOptions });
    const database = TypeOrmModule.forRootAsync({
      name: moduleOptions.dataSource,
      useFactory: async () => {
        if (!allowProduction) rejectProduction();
        // @nestjs/typeorm 11 closes the data source that these options name.
        return { ...(await memoryDatabase(entities)), name: moduleOptions.dataSource };
      },
    });
    const clock = [
      { provide: TestClock, useFactory: () => new TestClock() },
      { provide: CLOCK, useFactory: (testClock: TestClock) => () => testClock.now, inject: [TestClock] },
      {
        provide: Symbol('EXPIRED_CONNECTIONS_CLOSER'),
        useFactory: (testClock: TestClock, connections: OpenConnections) =>
          testClock.onMove(() => void connections.checkAll(null)),
        inject: [TestClock, OpenConnections],
      },
    ];
    return {
      module: ExpiringTokenTestingModule,
      // Of several providers with the same token, Nest uses the last one.
      imports: [
        database,
        { ...real, providers: [...(real.providers ?? []), ...clock], exports: [...(real.exports ?? []), TestClock] },
      ],
      exports: [ExpiringTokenModule],
    };
  }
}
