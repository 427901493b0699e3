import { inspect } from 'node:util';
import { Controller, Injectable, Module, UseGuards } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  type ExpiringTokenOptionsFactory,
  ExpiringTokenService,
  Token,
  typeOrmUsers,
  User,
} from 'nestjs-expiring-token';
import { Column, DeleteDateColumn, Entity, PrimaryColumn } from 'typeorm';
import { beforeAll, describe, expect, it } from 'vitest';
import { ACCOUNT, Account } from './fixtures/account.js';
import { onEveryDatabase, TestEnvironment } from './fixtures/app.js';
import { compile } from './fixtures/compile.js';

/** Compiles a module with these options and without a database. */
const start = (options: unknown) =>
  Test.createTestingModule({ imports: [ExpiringTokenModule.forRoot(options as ExpiringTokenModuleOptions)] }).compile();

describe('An invalid option stops the start with an error that names the option, its value and the fix:', () => {
  const WHOLE_DURATION = 'a string with a unit';
  const BAD: [option: string, value: unknown, shown: string, remedy: string][] = [
    ['lifespan', '3600', '"3600"', WHOLE_DURATION],
    ['lifespan', 'abc', '"abc"', WHOLE_DURATION],
    ['lifespan', '', '""', WHOLE_DURATION],
    ['lifespan', '1.5', '"1.5"', WHOLE_DURATION],
    ['lifespan', '10 parsecs', '"10 parsecs"', WHOLE_DURATION],
    ['lifespan', '0s', '"0s"', WHOLE_DURATION],
    ['lifespan', '-1h', '"-1h"', WHOLE_DURATION],
    ['lifespan', '101y', '"101y"', WHOLE_DURATION],
    ['lifespan', 0, '0', WHOLE_DURATION],
    ['lifespan', -1, '-1', WHOLE_DURATION],
    ['lifespan', 0.5, '0.5', WHOLE_DURATION],
    ['lifespan', Number.NaN, 'NaN', WHOLE_DURATION],
    ['lifespan', 10n, '10n', WHOLE_DURATION],
    ['lifespan', Infinity, 'Infinity', WHOLE_DURATION],
    ['lifespan', 8_640_000_000_001, '8640000000001', WHOLE_DURATION],
    ['lifespan', true, 'true', WHOLE_DURATION],
    ['lifespan', {}, 'an object', WHOLE_DURATION],
    ['lifespan', [{}], 'a list', WHOLE_DURATION],
    ['lifespan', ['1h'], "[ '1h' ]", WHOLE_DURATION],
    ['lifespan', 30, '30', "Give a string with a unit, such as '30s' or '30d', or '30ms' if milliseconds are meant"],
    ['lifespan', 999, '999', "'999ms'"],
    ['idle', 14, '14', "'14s' or '14d'"],
    ['timeout', null, 'null', WHOLE_DURATION],
    ['timeout', '2', '"2"', WHOLE_DURATION],
    ['timeout', 0, '0', WHOLE_DURATION],
    ['idle', '5', '"5"', WHOLE_DURATION],
    ['idle', 0, '0', WHOLE_DURATION],
    ['lastUsedAccuracy', null, 'null', WHOLE_DURATION],
    ['personal', '90d', '"90d"', 'Give true, or an object'],
    ['personal', null, 'null', 'Give true, or an object'],
    ['refresh', '7d', '"7d"', 'Give true, or an object'],
    ['refresh', null, 'null', 'Give true, or an object'],
    ['limit', 5, '5', 'Give an object'],
    ['loginThrottle', true, 'true', 'Give an object'],
    ['prune', '1h', '"1h"', 'Give true, or an object'],
    ['cache', '10s', 'a string of 3 bytes', 'Give true, or an object'],
    ['cache', 10, 'a number', 'Give true, or an object'],
    ['imported', 'drf', '"drf"', 'Give a list'],
    ['imported', ['knox'], '"knox"', 'drf'],
    ['secret', 'too short', 'a string of 9 bytes', '32 bytes'],
    ['secret', [], 'a list', '32 bytes'],
    ['secret', ['x'.repeat(32), 7], 'a number', '32 bytes'],
    ['secret', null, 'null', '32 bytes'],
    ['obtain', 'always', '"always"', 'reuse'],
    ['obtain', 'reuse', '"reuse"', 'Give secret as well'],
    ['obtain', 'renew', '"renew"', 'Give secret as well'],
    ['usernameField', '', '""', 'JSON field'],
    ['passwordField', 'deviceName', '"deviceName"', 'not deviceName'],
    ['passwordField', 1, '1', 'JSON field'],
    ['passwordField', 'username', '"username"', 'another field'],
    ['schemes', 'Bearer', '"Bearer"', 'list of scheme names'],
    ['schemes', [], '[]', 'list of scheme names'],
    ['schemes', ['Bear er'], "[ 'Bear er' ]", 'list of scheme names'],
    ['realm', 'a"b\r\nX: y', String.raw`"a\"b\r\nX: y"`, 'printable ASCII'],
    ['realm', 'a\\b', String.raw`"a\\b"`, 'printable ASCII'],
    ['realm', 'é', '"é"', 'printable ASCII'],
    ['realm', '', '""', 'printable ASCII'],
    ['resourceMetadata', 'http://api.example.com/metadata', '"http://api.example.com/metadata"', 'https://'],
    ['resourceMetadata', 'https://a"b', String.raw`"https://a\"b"`, 'https://'],
    ['resourceMetadata', 'https://[', '"https://["', 'https://'],
    ['resourceMetadata', true, 'true', 'https://'],
    ['expiredStatus', 403, '403', '401, 400'],
    ['prefix', '', '""', '1 to 20'],
    ['prefix', 'a'.repeat(21), 'aaaa', '1 to 20'],
    ['prefix', 'a.b', '"a.b"', '1 to 20'],
    ['path', 'a b', '"a b"', 'URL path segments'],
    ['path', 3, '3', 'URL path segments'],
    ['routes', 'login', '"login"', 'a list of'],
    ['routes', ['login', 'nope'], '"nope"', 'one of'],
    ['routes', ['login', 'refresh'], "'refresh'", 'Give the option refresh as well'],
    ['users', {}, 'an object', 'UserStore'],
    ['imports', {}, 'an object', 'list of modules'],
    ['isGlobal', 'yes', '"yes"', 'true, false'],
    ['globalGuard', 1, '1', 'true, false'],
    ['dataSource', '', '""', 'name of a data source'],
    ['tokenEntity', class Other {}, '[class Other]', 'extends Token'],
    ['userEntity', class Other {}, '[class Other]', 'extends User'],
  ];

  it.each(BAD)('%s: %o', async (option, value, shown, remedy) => {
    const problem = expect(start({ [option]: value })).rejects;
    await problem.toThrow(`ExpiringTokenModule: ${option}: `);
    await problem.toThrow(shown);
    await problem.toThrow(remedy);
  });

  it.each(['caching', 'lifeSpan'])('%s, which is not an option', async (option) => {
    await expect(start({ [option]: '1h' })).rejects.toThrow(`${option}: unknown option`);
  });

  it.each(['refresh', 'personal', 'limit', 'loginThrottle', 'prune'])('%s with an unknown field', async (option) => {
    await expect(start({ [option]: { perUser: 1, policy: 'evict', gracE: 1 } })).rejects.toThrow(
      new RegExp(`ExpiringTokenModule: ${option}\\.(gracE|perUser|policy): unknown option\\. Fix .*Known options: "`),
    );
  });

  const BAD_FIELDS: [option: string, value: unknown, name: string, shown: string, remedy: string][] = [
    ['personal', { lifespan: 90 }, 'personal.lifespan', '90', "'90s' or '90d'"],
    ['personal', { longest: 365 }, 'personal.longest', '365', "'365s' or '365d'"],
    ['personal', { lifespan: null }, 'personal.lifespan', 'null', WHOLE_DURATION],
    ['personal', { lifespan: '366d' }, 'personal.lifespan', '"366d"', 'at most personal.longest'],
    ['personal', { lifespan: '31d', longest: '30d' }, 'personal.lifespan', '"31d"', 'at most personal.longest'],
    ['personal', { perUser: 0 }, 'personal.perUser', '0', 'from 1 to 1000'],
    ['personal', { perUser: 1001 }, 'personal.perUser', '1001', 'from 1 to 1000'],
    ['personal', { prefix: 'a.b' }, 'personal.prefix', '"a.b"', '1 to 20'],
    ['personal', { prefix: 'ext_' }, 'personal.prefix', '"ext_"', 'the option prefix, "ext_"'],
    ['personal', { prefix: 'ext_p' }, 'personal.prefix', '"ext_p"', 'neither may begin with the other'],
    ['personal', { prefix: 'ext' }, 'personal.prefix', '"ext"', 'neither may begin with the other'],
    ['refresh', { idle: null }, 'refresh.idle', 'null', WHOLE_DURATION],
    ['refresh', { idle: '7' }, 'refresh.idle', '"7"', WHOLE_DURATION],
    ['refresh', { idle: 7 }, 'refresh.idle', '7', "'7s' or '7d'"],
    ['refresh', { lifespan: 90 }, 'refresh.lifespan', '90', "'90ms' if milliseconds are meant"],
    ['refresh', { lifespan: 0 }, 'refresh.lifespan', '0', 'or null for never'],
    ['refresh', { grace: '61s' }, 'refresh.grace', '"61s"', '0 to 60 seconds'],
    ['refresh', { grace: -1 }, 'refresh.grace', '-1', '0 to 60 seconds'],
    ['refresh', { header: 'a b' }, 'refresh.header', '"a b"', 'name of a header'],
    ['refresh', { header: 'Authorization' }, 'refresh.header', '"Authorization"', 'no other meaning'],
    ['refresh', { header: 'Cookie' }, 'refresh.header', '"Cookie"', 'no other meaning'],
    ['limit', { perUser: 0, policy: 'evict' }, 'limit.perUser', '0', 'of at least 1'],
    ['limit', { perUser: 1.5, policy: 'evict' }, 'limit.perUser', '1.5', 'of at least 1'],
    ['limit', { perUser: 1, policy: 'drop' }, 'limit.policy', '"drop"', 'evict'],
    ['limit', { perUser: 1 }, 'limit.policy', 'undefined', 'evict'],
    ['loginThrottle', { limit: 0 }, 'loginThrottle.limit', '0', 'of at least 1'],
    ['loginThrottle', { ttl: '5' }, 'loginThrottle.ttl', '"5"', WHOLE_DURATION],
    ['loginThrottle', { redis: 'localhost' }, 'loginThrottle.redis', 'a string of 9 bytes', "a URL such as 'redis://"],
    ['loginThrottle', { redis: {} }, 'loginThrottle.redis', 'an object', 'a client'],
    ['prune', { every: '0s' }, 'prune.every', '"0s"', WHOLE_DURATION],
    ['prune', { retention: 0 }, 'prune.retention', '0', WHOLE_DURATION],
    ['passwords', { minLength: 0 }, 'passwords.minLength', '0', 'from 1 to 256'],
    ['passwords', { minLength: '8' }, 'passwords.minLength', '"8"', 'from 1 to 256'],
    ['passwords', { minLength: 257 }, 'passwords.minLength', '257', 'from 1 to 256'],
    ['passwords', { check: 'hibp' }, 'passwords.check', '"hibp"', 'a function that throws'],
    ['hashConcurrency', 0, 'hashConcurrency', '0', 'from 1 to 1024'],
    ['prune', { batch: 10_001 }, 'prune.batch', '10001', 'from 1 to 10000'],
    ['lastUsedAccuracy', '1h', 'lastUsedAccuracy', '"1h"', 'less than idle'],
  ];

  it.each(BAD_FIELDS)('%s: %o', async (option, value, name, shown, remedy) => {
    const problem = expect(start({ idle: '1h', [option]: value })).rejects;
    await problem.toThrow(`ExpiringTokenModule: ${name}: ${shown}`);
    await problem.toThrow(remedy);
  });

  it('an option beside the factory of forRootAsync that does not exist or belongs into the factory', async () => {
    const useFactory = () => ({});
    for (const stray of [{ globalGaurd: true }, { lifespan: '1s' }]) {
      const module = ExpiringTokenModule.forRootAsync({ useFactory, ...stray });
      await expect(Test.createTestingModule({ imports: [module] }).compile(), JSON.stringify(stray)).rejects.toThrow(
        `${Object.keys(stray)[0]}: forRootAsync has no such option beside the factory`,
      );
    }
  });

  it('a factory of forRootAsync that is missing, or two of them', async () => {
    class Factory {
      createExpiringTokenOptions = () => ({});
    }
    for (const [options, problem] of [
      [{}, 'it has no factory. Give exactly one of useFactory, useClass, useExisting.'],
      [{ useClass: Factory, useFactory: () => ({}) }, 'it has useFactory and useClass'],
    ] as const) {
      const module = ExpiringTokenModule.forRootAsync(options);
      await expect(Test.createTestingModule({ imports: [module] }).compile(), problem).rejects.toThrow(
        `ExpiringTokenModule: forRootAsync: ${problem}`,
      );
    }
  });

  it('null, which would issue tokens that never expire, and a list', async () => {
    await expect(start(null)).rejects.toThrow('options: null is not allowed');
    await expect(start([])).rejects.toThrow('options: a list is not allowed');
  });

  const PASSWORD = 'hunter2';
  const URL_WITH_PASSWORD = `rediss//:${PASSWORD}@localhost`;
  it.each<[string, unknown]>([
    ['secret', PASSWORD],
    ['secret', { value: PASSWORD }],
    ['secret', ['x'.repeat(32), { value: PASSWORD }]],
    ['cache', URL_WITH_PASSWORD],
    ['cache', [URL_WITH_PASSWORD]],
    ['cache', { redis: URL_WITH_PASSWORD }],
    ['cache', { redis: `redis://:${PASSWORD}#x@localhost:6379` }],
    ['cache', { redis: `redis://:${PASSWORD}@localhost:99999` }],
    ['loginThrottle', { redis: `redis://:${PASSWORD}@local host` }],
    ['cache', { redis: { url: URL_WITH_PASSWORD } }],
    ['cache', { redis: [URL_WITH_PASSWORD] }],
    ['cache', { url: URL_WITH_PASSWORD }],
    ['loginThrottle', URL_WITH_PASSWORD],
    ['loginThrottle', [[URL_WITH_PASSWORD]]],
    ['loginThrottle', { redis: URL_WITH_PASSWORD }],
    ['loginThrottle', { redis: { options: { password: PASSWORD } } }],
    ['loginThrottle', { url: URL_WITH_PASSWORD }],
    ['dataSource', { type: 'postgres', password: PASSWORD }],
    ['users', { password: PASSWORD }],
    ['limit', { policy: { password: PASSWORD } }],
    ['lifespan', { password: PASSWORD }],
  ])('%s, without a secret that its value contains: %j', async (option, value) => {
    const problem: unknown = await start({ [option]: value }).catch((error: unknown) => error);
    expect(String(problem)).toContain(`ExpiringTokenModule: ${option}`);
    expect(inspect(problem, { depth: 9 })).not.toContain(PASSWORD);
  });

  it('options that are a list, or that a factory returns in another form, without a secret that they contain', async () => {
    const secret = 'hunter2';
    for (const useFactory of [() => [{ secret }], () => secret]) {
      const module = ExpiringTokenModule.forRootAsync({ useFactory: useFactory as () => object });
      const problem: unknown = await Test.createTestingModule({ imports: [module] })
        .compile()
        .catch((error: unknown) => error);
      expect(String(problem)).toContain('ExpiringTokenModule: options: a ');
      expect(String(problem)).not.toContain(secret);
    }
  });

  it('a bare duration, and a lifespan from a factory', async () => {
    await expect(start('30')).rejects.toThrow('lifespan: "30" is not allowed');
    const module = ExpiringTokenModule.forRootAsync({ useFactory: async () => ({ lifespan: 'soon' }) });
    await expect(Test.createTestingModule({ imports: [module] }).compile()).rejects.toThrow('lifespan: "soon"');
  });

  it('a structural option that a factory returns', async () => {
    const useFactory = () => ({ path: 'api' }) as object;
    const module = ExpiringTokenModule.forRootAsync({ useFactory });
    await expect(Test.createTestingModule({ imports: [module] }).compile()).rejects.toThrow(
      'path: unknown option. Fix the spelling or remove it. An option that shapes the module, such as path, is given to forRootAsync',
    );
  });
});

describe('An application with a wrong setup does not start', () => {
  it('without a data source', async () => {
    await expect(start({})).rejects.toThrow('dataSource: there is no TypeORM data source "default"');
    await expect(start({ dataSource: 'tokens' })).rejects.toThrow('there is no TypeORM data source "tokens"');
  });

  it('with a module that imports ExpiringTokenModule without options', async () => {
    @Injectable()
    class Exporter {
      constructor(readonly tokens: ExpiringTokenService) {}
    }
    for (const [index, providers] of [[], [Exporter]].entries()) {
      await expect(
        Test.createTestingModule({ imports: [ExpiringTokenModule], providers }).compile(),
        `providers ${index}`,
      ).rejects.toThrow('ExpiringTokenModule is imported without options');
    }
  });

  onEveryDatabase((environment) => {
    it('with a token entity that is not registered', async () => {
      await expect(
        Test.createTestingModule({
          imports: [environment.typeOrm({ autoLoadEntities: false, entities: [] }), ExpiringTokenModule.forRoot()],
        }).compile(),
      ).rejects.toThrow('tokenEntity: Token is not an entity of the data source. Set autoLoadEntities: true');
    });

    it('with users that are not registered', async () => {
      await expect(
        Test.createTestingModule({
          imports: [environment.typeOrm({ autoLoadEntities: false, entities: [Token] }), ExpiringTokenModule.forRoot()],
        }).compile(),
      ).rejects.toThrow('userEntity: User is not an entity of the data source');
    });

    it('with a token entity that has a column for soft deletion', async () => {
      @Entity('kept_token')
      class KeptToken extends Token {
        @DeleteDateColumn()
        gone: Date | null;
      }
      await expect(environment.boot({ options: { tokenEntity: KeptToken } })).rejects.toThrow(
        'tokenEntity: KeptToken.gone is a @DeleteDateColumn()',
      );
    });

    it('with a token entity with a required column that a login cannot fill', async () => {
      @Entity('tenant_token')
      class TenantToken extends Token {
        @Column()
        tenant: string;
      }
      await expect(environment.boot({ options: { tokenEntity: TenantToken } })).rejects.toThrow(
        'tokenEntity: TenantToken.tenant is neither nullable nor has a default',
      );
    });

    it('with a user entity with a required column that UserService.create cannot fill', async () => {
      @Entity('tenant_user')
      class TenantUser extends User {
        @Column()
        tenant: string;
      }
      await expect(environment.boot({ options: { userEntity: TenantUser } })).rejects.toThrow(
        'userEntity: TenantUser.tenant is neither nullable nor has a default, so UserService.create could not insert a row',
      );
    });

    it('with a user entity beside a store of the application', async () => {
      @Entity('double_user')
      class DoubleUser extends User {}
      const users = typeOrmUsers(Account, ACCOUNT);
      await expect(environment.boot({ options: { userEntity: DoubleUser, users } })).rejects.toThrow(
        'userEntity: it is the entity of the built-in store, which the option users replaces. Leave out userEntity, or users.',
      );
    });

    it('with a data source that is not initialized', async () => {
      await expect(environment.boot({ typeOrm: { manualInitialization: true } })).rejects.toThrow(
        'dataSource: "default" is not initialized, so its entities are not known. Remove manualInitialization',
      );
    });

    it('with users that are registered for another data source', async () => {
      @Entity()
      class Person {
        @PrimaryColumn()
        id: string;
        @Column()
        name: string;
        @Column()
        password: string;
      }
      const users = typeOrmUsers(Person, { id: 'id', username: 'name', password: 'password' });
      const starting = environment.boot({ options: { users, dataSource: 'people' }, typeOrm: { name: 'people' } });
      await expect(starting).rejects.toThrow("import TypeOrmModule.forFeature([Person], 'people')");
    });

    describe('with two copies of the package', () => {
      let copy: typeof import('nestjs-expiring-token');
      beforeAll(async () => {
        copy = await import(/* @vite-ignore */ await compile('lib/index.ts'));
      });
      const LIST = 'npm ls nestjs-expiring-token';

      it('that are both imported', async () => {
        expect(copy.ExpiringTokenModule).not.toBe(ExpiringTokenModule);
        const module = [ExpiringTokenModule.forRoot({ isGlobal: true }), copy.ExpiringTokenModule.forRoot()];
        const starting = environment.boot({ module });
        await expect(starting).rejects.toThrow('the application imports two copies of nestjs-expiring-token');
        await expect(environment.boot({ module })).rejects.toThrow(LIST);
      });

      it('one of which has the guard', async () => {
        @Controller()
        @UseGuards(copy.ExpiringTokenGuard)
        class NotesController {}
        @Module({ controllers: [NotesController] })
        class NotesModule {}
        const starting = environment.boot({ options: { isGlobal: true }, imports: [NotesModule] });
        await expect(starting).rejects.toThrow('NotesModule uses the guard of another copy of nestjs-expiring-token');
      });

      it('one of which has the entities', async () => {
        const typeOrm = { autoLoadEntities: false, entities: [copy.Token, copy.User] };
        const starting = environment.boot({ typeOrm });
        await expect(starting).rejects.toThrow(
          'tokenEntity: Token is not an entity of the data source, which has another',
        );
        await expect(environment.boot({ typeOrm })).rejects.toThrow(LIST);
        class OwnToken extends copy.Token {}
        const options = { tokenEntity: OwnToken } as unknown as ExpiringTokenModuleOptions;
        await expect(environment.boot({ options })).rejects.toThrow(LIST);
      });
    });

    it('with the module imported twice, which would register the Passport strategy twice', async () => {
      await expect(
        environment.boot({ module: [ExpiringTokenModule.forRoot(), ExpiringTokenModule.forRoot('1h')] }),
      ).rejects.toThrow('the Passport strategy expiring-token is registered twice');
    });
  });
});

describe('The module options can come', () => {
  @Injectable()
  class OptionsFactory implements ExpiringTokenOptionsFactory {
    createExpiringTokenOptions() {
      return { lifespan: '1h' };
    }
  }

  @Module({ providers: [OptionsFactory], exports: [OptionsFactory] })
  class OptionsModule {}

  const SOURCES = {
    'from forRoot as a duration': ExpiringTokenModule.forRoot('1h'),
    'from forRoot as milliseconds': ExpiringTokenModule.forRoot(3_600_000),
    'from forRoot as an object': ExpiringTokenModule.forRoot({ lifespan: '1h' }),
    'from useFactory': ExpiringTokenModule.forRootAsync({
      imports: [OptionsModule],
      inject: [OptionsFactory],
      useFactory: (factory: OptionsFactory) => factory.createExpiringTokenOptions(),
    }),
    'from useClass': ExpiringTokenModule.forRootAsync({ useClass: OptionsFactory }),
    'from useExisting': ExpiringTokenModule.forRootAsync({ imports: [OptionsModule], useExisting: OptionsFactory }),
  };

  onEveryDatabase((environment: TestEnvironment) => {
    it.each(Object.entries(SOURCES))('%s', async (_, module) => {
      const app = await environment.boot({ module: [module] });
      const { json } = await app.login((await app.createUser()).username);
      expect(json.expiresIn).toBe(3600);
    });

    it.each<[string, ExpiringTokenModuleOptions, number]>([
      ['true for refresh', { refresh: true }, 3600],
      ['true for cache and prune', { cache: true, prune: true }, 30 * 86_400],
      ['a short lifespan with a unit', { lifespan: '900ms' }, 1],
      ['the smallest number', { lifespan: 1000 }, 1],
    ])('as %s', async (_, options, expiresIn) => {
      const app = await environment.boot({ module: [ExpiringTokenModule.forRoot({ ...options, routes: ['login'] })] });
      const { status, json } = await app.login((await app.createUser()).username);
      expect(status).toBe(200);
      expect(json.expiresIn).toBeLessThanOrEqual(expiresIn);
      expect(json.refreshExpiresIn).toBe(options.refresh ? 7 * 86_400 : undefined);
      expect(app.tokens.cacheStatus().isOpen).toBe(options.cache === true);
    });

    it('as true for refresh, with which the route refresh can be listed', async () => {
      const app = await environment.boot({
        module: [ExpiringTokenModule.forRoot({ refresh: true, routes: ['login', 'refresh'] })],
      });
      const { refreshToken } = (await app.login((await app.createUser()).username)).json;
      expect((await app.post('/auth/refresh', { refreshToken })).status).toBe(200);
    });

    it('from a factory, with structural options beside it', async () => {
      const app = await environment.boot({
        module: [ExpiringTokenModule.forRootAsync({ useFactory: () => ({}), path: 'api/session', routes: ['login'] })],
      });
      const { username } = await app.createUser();
      expect((await app.post('/api/session/login', { username, password: 'wrong' })).status).toBe(401);
      expect((await app.post('/api/session/obtain-token', {})).status).toBe(404);
      expect((await app.post('/auth/login', {})).status).toBe(404);
    });
  });
});
