import { type DynamicModule, Module } from '@nestjs/common';
import { TypeOrmModule } from '@nestjs/typeorm';
import type { DataSourceOptions } from 'typeorm';
import type { Duration } from '../options/duration.js';
import { CLOCK } from '../expiring-token.constants.js';
import { ExpiringTokenModule } from '../expiring-token.module.js';
import type { ExpiringTokenModuleOptions } from '../expiring-token.module-options.js';
import { OpenConnections } from '../transports/open-connections.js';
import { memoryDatabase } from './memory-database.js';
import { TestClock } from './test-clock.js';

/**
 * Nothing happens that a test did not ask for: no sweep in the background, no limit to wrong passwords. And what the module
 * exports is seen by the module under test, which does not import it.
 */
const DEFAULTS = { prune: false, loginThrottle: false, isGlobal: true } as const;

/** Options of {@link ExpiringTokenTestingModule.forRoot}: all of the module's own, and these. */
export type ExpiringTokenTestingOptions = ExpiringTokenModuleOptions & {
  /**
   * Entities of the application beyond those that it registers by `TypeOrmModule.forFeature`.
   *
   * @defaultValue `[]`
   */
  entities?: DataSourceOptions['entities'];
};

/**
 * The real module with all of its routes and guards, on a database in memory, in a time that a {@link TestClock} moves.
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
   * Registers the module, and the TypeORM data source that it needs.
   *
   * @param options - the lifespan of tokens, or all options of `ExpiringTokenModule.forRoot`, and `entities`. By default
   * nothing is pruned, failed logins are not limited, and `isGlobal` is true
   * @throws Error when there is no SQLite driver, as the application starts
   */
  static forRoot(options: Duration | ExpiringTokenTestingOptions = {}): DynamicModule {
    const { entities = [], ...given } = typeof options === 'object' ? options : { lifespan: options };
    const real = ExpiringTokenModule.forRoot({ ...DEFAULTS, ...given });
    const database = TypeOrmModule.forRootAsync({
      name: given.dataSource,
      useFactory: () => memoryDatabase(entities),
    });
    const clock = [
      { provide: TestClock, useFactory: () => new TestClock() },
      { provide: CLOCK, useFactory: (moved: TestClock) => () => moved.now, inject: [TestClock] },
      {
        provide: Symbol('sockets that end in time'),
        useFactory: (moved: TestClock, connections: OpenConnections) =>
          moved.onMove(() => void connections.checkAll(null)),
        inject: [TestClock, OpenConnections],
      },
    ];
    return {
      module: ExpiringTokenTestingModule,
      // Of two providers of one token the last counts.
      imports: [
        database,
        { ...real, providers: [...(real.providers ?? []), ...clock], exports: [...(real.exports ?? []), TestClock] },
      ],
      exports: [ExpiringTokenModule],
    };
  }
}
