import { deepEqual } from 'node:assert/strict';
import {
  Body,
  ConflictException,
  Controller,
  Delete,
  Get,
  Injectable,
  Module,
  Param,
  Post,
  Req,
  UseGuards,
} from '@nestjs/common';
import { AuthGuard } from '@nestjs/passport';
import {
  type Authentication,
  type CacheOptions,
  type Credentials,
  CurrentActor,
  CurrentToken,
  CurrentUser,
  type Device,
  type DeviceOptions,
  type Duration,
  type ExpiringTokenAuthInfo,
  type ExpiringTokenErrorCode,
  ExpiringTokenException,
  ExpiringTokenGuard,
  ExpiringTokenModule,
  type ExpiringTokenModuleOptions,
  type ExpiringTokenOptions,
  ExpiringTokenOptionsError,
  type ExpiringTokenOptionsFactory,
  type ExpiringTokenRoute,
  ExpiringTokenService,
  type ExpiringTokenStructuralOptions,
  hashPassword,
  hasScope,
  type HttpRequest,
  type ImportedShape,
  type ImportedToken,
  type IssuedPair,
  type IssuedToken,
  type IssueOptions,
  type LimitOptions,
  type LoggedIn,
  type LoginThrottleOptions,
  type ObtainPolicy,
  OptionalToken,
  type PasswordOptions,
  type PersonalOptions,
  type PersonalToken,
  type PersonalTokenOptions,
  PersonalTokenService,
  type PruneOptions,
  Public,
  RequireLogin,
  RequireAnyScope,
  RequireScopes,
  RequireToken,
  type RefreshOptions,
  type PasswordChangedEvent,
  type ReusedEvent,
  type RevokeAllOptions,
  type RotateOptions,
  Token,
  type TokenPurpose,
  typeOrmUsers,
  User,
  type TypeOrmUsers,
  type TypeOrmUsersOptions,
  type UserProperties,
  UserService,
  type UserStore,
  type VerifyHash,
} from 'nestjs-expiring-token';
import { migrations, tokenMigrations } from 'nestjs-expiring-token/migrations';
import { actingAs, ExpiringTokenTestingModule, TestClock, userStoreContract } from 'nestjs-expiring-token/testing';
import { Column, Entity, type MigrationInterface, PrimaryGeneratedColumn } from 'typeorm';

/*
 * Uses every public name of the package with its public type. Compiled with `strict`, with the compiler and framework versions
 * of users.
 */

@Entity()
export class Account {
  @PrimaryGeneratedColumn()
  id!: number;

  @Column({ unique: true })
  email!: string;

  @Column({ type: 'varchar', nullable: true, select: false })
  passwordHash?: string | null;

  @Column({ default: true })
  enabled!: boolean;
}

@Entity('auth_token')
export class AccountToken extends Token {
  @Column({ type: 'varchar', nullable: true })
  tenant!: string | null;
}

const properties: UserProperties<Account> = {
  id: 'id',
  username: 'email',
  password: 'passwordHash',
  active: 'enabled',
};

const verify: VerifyHash = (hash, password) => hash === password;
const typeOrmUsersOptions: Required<TypeOrmUsersOptions> = { verify };

/** A user store for an entity of the application, with an additional rule. */
@Injectable()
export class Accounts extends typeOrmUsers(Account, properties, typeOrmUsersOptions) {
  override isActive(account: Account): boolean {
    return account.enabled && account.email.endsWith('@example.org');
  }
}

@Entity('customer')
export class Customer extends User {
  @Column({ type: 'varchar', nullable: true })
  company!: string | null;
}

/** Calls the methods that `typeOrmUsers` adds to a store. */
export async function changeAccounts(accounts: TypeOrmUsers<Account>, id: string): Promise<boolean[]> {
  return [
    await accounts.changePassword(id, 'another horse', { except: 'device' }),
    await accounts.setActive(id, false, { revoke: true }),
    await accounts.delete(id),
  ];
}

/** A user store that the application implements itself. */
@Injectable()
export class Directory implements UserStore<{ dn: string }> {
  findById(id: string): Promise<{ dn: string } | null> {
    return Promise.resolve(id === '' ? null : { dn: id });
  }

  findByIds(ids: readonly string[]): Promise<{ dn: string }[]> {
    return Promise.resolve(ids.map((dn) => ({ dn })));
  }

  validateCredentials({ username, password }: Credentials): Promise<{ dn: string } | null> {
    return Promise.resolve(password === '' ? null : { dn: username });
  }

  canonicalName(username: string): string {
    return username.normalize('NFKC').toLowerCase();
  }

  getId({ dn }: { dn: string }): string {
    return dn;
  }
}

@Module({ providers: [Directory], exports: [Directory] })
export class DirectoryModule {}

const routes: readonly ExpiringTokenRoute[] = ['login', 'obtain-token', 'token', 'refresh', 'logout', 'devices'];

/** Every structural option. */
const structural: Required<ExpiringTokenStructuralOptions> = {
  users: Directory,
  imports: [DirectoryModule],
  path: 'auth',
  routes,
  isGlobal: true,
  globalGuard: false,
  dataSource: 'accounts',
  tokenEntity: AccountToken,
  userEntity: User,
};

const month: Duration = '30d';
const refresh: Required<RefreshOptions> = { idle: '7d', lifespan: '90d', grace: 0, header: 'Refresh-Token' };
const personal: Required<PersonalOptions> = { lifespan: '90d', longest: null, perUser: 50, prefix: 'extp_' };
const limit: LimitOptions = { perUser: 10, policy: 'reject' };
const loginThrottle: Required<LoginThrottleOptions> = { limit: 10, ttl: '5m', redis: {} };
const cache: Required<CacheOptions> = { ttl: '10s', max: 50_000, redis: 'redis://127.0.0.1' };
const prune: Required<PruneOptions> = { every: '1h', retention: '7d', batch: 1000 };
const passwords: Required<PasswordOptions> = { minLength: 12, check: () => Promise.resolve() };
const shapes: readonly ImportedShape[] = ['drf', 'sanctum'];
const policies: readonly ObtainPolicy[] = ['reuse', 'renew', 'replace'];

/** Every runtime option. */
const runtime: Required<ExpiringTokenOptions> = {
  lifespan: month,
  idle: 7 * 86_400_000,
  lastUsedAccuracy: '30m',
  refresh,
  personal,
  limit,
  loginThrottle,
  hashConcurrency: 1,
  cache,
  prune,
  scopes: ['notes:read', 'notes:write'],
  imported: shapes,
  secret: ['a new secret of thirty-two bytes, or more', 'the old secret of thirty-two bytes, or more'],
  obtain: policies[0]!,
  usernameField: 'username',
  passwordField: 'password',
  passwords,
  schemes: ['Bearer', 'Token'],
  realm: 'api',
  resourceMetadata: 'https://api.example.com/.well-known/oauth-protected-resource',
  expiredStatus: 400,
  prefix: 'ext_',
  namespace: 'contract',
  timeout: '2s',
};

const disabled: ExpiringTokenOptions = {
  lifespan: null,
  idle: null,
  refresh: { lifespan: null },
  limit: null,
  loginThrottle: false,
  cache: false,
  prune: false,
  secret: 'a secret of thirty-two bytes, or more',
};

const defaults: ExpiringTokenOptions = {
  refresh: true,
  personal: true,
  loginThrottle: { redis: 'redis://127.0.0.1' },
  cache: true,
  prune: true,
};

// @ts-expect-error unknown option
export const misspelt: ExpiringTokenModuleOptions = { lifeSpan: '30d' };
// @ts-expect-error structural options are not allowed in the options of the factory
export const misplaced: ExpiringTokenOptions = { globalGuard: true };

@Injectable()
export class TokenSettings implements ExpiringTokenOptionsFactory {
  createExpiringTokenOptions(): Promise<ExpiringTokenOptions> {
    return Promise.resolve({ lifespan: '15m', refresh: { idle: '7d' } });
  }
}

@Module({ providers: [TokenSettings], exports: [TokenSettings] })
export class SettingsModule {}

/** Every way to register the module. */
export const registrations = [
  ExpiringTokenModule.forRoot(),
  ExpiringTokenModule.forRoot('30d'),
  ExpiringTokenModule.forRoot(86_400_000),
  ExpiringTokenModule.forRoot({ userEntity: Customer }),
  ExpiringTokenModule.forRoot({ ...runtime, ...structural }),
  ExpiringTokenModule.forRoot({ ...disabled, users: Accounts, routes: false, dataSource: 'accounts' }),
  ExpiringTokenModule.forRootAsync({ ...structural, useFactory: () => disabled }),
  ExpiringTokenModule.forRoot(defaults),
];

/** The registrations that main.ts tests over HTTP. They differ in the source of their options. */
export const testedRegistrations = {
  forRoot: ExpiringTokenModule.forRoot({ lifespan: '15m', refresh: { idle: '7d' } }),
  useFactory: ExpiringTokenModule.forRootAsync({
    imports: [SettingsModule],
    inject: [TokenSettings],
    useFactory: (settings: TokenSettings) => settings.createExpiringTokenOptions(),
  }),
  useExisting: ExpiringTokenModule.forRootAsync({ imports: [SettingsModule], useExisting: TokenSettings }),
  useClass: ExpiringTokenModule.forRootAsync({ useClass: TokenSettings }),
};

/** A guard that overrides a protected method. */
@Injectable()
export class NightGuard extends ExpiringTokenGuard {
  protected override getRequest(context: Parameters<ExpiringTokenGuard['canActivate']>[0]): HttpRequest {
    return super.getRequest(context);
  }
}

/** Uses every decorator, and the properties that the package sets on a request. */
@Controller('account')
@UseGuards(ExpiringTokenGuard)
export class AccountController {
  constructor(
    private readonly tokens: ExpiringTokenService,
    private readonly users: UserService,
  ) {}

  @Get()
  me(@CurrentUser() user: User, @CurrentToken() token: Token, @CurrentActor() _actorId: string | null) {
    return { username: user.username, deviceId: token.deviceId };
  }

  @Get('open')
  @Public()
  open() {
    return { open: true };
  }

  @Get('greeting')
  @OptionalToken()
  greeting(@CurrentUser() user: User | null) {
    return { greeting: `Hello ${user?.username ?? 'stranger'}` };
  }

  @Get('passport')
  @Public()
  @UseGuards(AuthGuard('expiring-token'))
  passport(@Req() request: HttpRequest & { authInfo: ExpiringTokenAuthInfo }) {
    return { deviceId: request.authInfo.token.deviceId };
  }

  @Post('scripts')
  @RequireScopes('notes:read', 'notes:write')
  @RequireAnyScope('notes:write')
  @RequireToken()
  async script(@CurrentUser() { id }: User, @Body() { name }: { name: string }) {
    const issued: IssuedToken = await this.tokens.issue(id, { name, userAgent: null, lifespan: '1h' });
    return { token: issued.plainText };
  }

  @Post('password')
  @RequireLogin()
  change(@CurrentUser() { id }: User, @CurrentToken() { deviceId }: Token, @Body() { password }: { password: string }) {
    return this.users.changePassword(id, password, { except: deviceId });
  }

  @Delete('devices/:id')
  end(@CurrentUser() user: User, @Param('id') id: string) {
    return this.tokens.revoke(user.id, id);
  }
}

/** Calls every method of the service of personal tokens. */
export async function everyPersonalMethod(tokens: PersonalTokenService, userId: string, by: Token): Promise<void> {
  const options: PersonalTokenOptions = { name: 'nightly export', scopes: null, lifespan: '30d', by };
  const { token }: IssuedToken = await tokens.issue(userId, options);
  const [first]: PersonalToken[] = await tokens.list(userId);
  const rotation: RotateOptions = { overlap: '1h', by };
  const { plainText }: IssuedToken = await tokens.rotate(userId, token.deviceId, rotation);
  const renamed: PersonalToken = await tokens.rename(userId, first!.id, plainText.slice(0, 5), { by });
  const isRevoked: boolean = await tokens.revoke(userId, renamed.id, { by });
  const all: RevokeAllOptions = { except: first!.id, personal: isRevoked };
  deepEqual(all.personal, true);
}

/** Calls every method of the services, with its parameter and return types. */
export async function everyMethod(tokens: ExpiringTokenService, users: UserService): Promise<void> {
  const created: User = await users.create('ben', 'another horse');
  await users.create('cem', null).catch((error: ConflictException) => error.getStatus());
  const { id }: { id: string } = created;
  const hashed: string = await hashPassword('a third horse');

  const options: IssueOptions & DeviceOptions = {
    name: 'export',
    userAgent: 'curl/8',
    lifespan: null,
    scopes: ['notes:read'],
  };
  const { plainText, token }: IssuedToken = await tokens.issue(id, options);
  const { user, token: row }: Authentication = await tokens.authenticate(plainText);
  const known: User = user as User;
  const purpose: TokenPurpose = row.purpose;
  const fields: {
    id: string;
    userId: string;
    deviceId: string;
    name: string | null;
    userAgent: string | null;
    created: Date;
    lifespan: number | null;
    lastUsedAt: Date | null;
    scopes: string[] | null;
    authenticatedAt: Date | null;
    address: string | null;
    actorId: string | null;
  } = token;
  const mayWrite: boolean = hasScope(token, 'notes:write');

  const loggedIn: LoggedIn = await tokens.logIn(id, { name: 'telephone' });
  const pair: IssuedPair = await tokens.refresh(loggedIn.refresh!.plainText);
  const obtained: IssuedToken = await tokens.obtain(id);
  const devices: Device[] = await tokens.list(id);
  const device: Device = await tokens.rename(id, pair.access.token.deviceId, 'tablet');
  const shown: {
    id: string;
    name: string | null;
    userAgent: string | null;
    createdAt: Date;
    lastUsedAt: Date | null;
    expiresAt: Date | null;
  } = device;
  const revoked: boolean = await tokens.revoke(id, shown.id);
  const ended: number = await tokens.revokeAll(id, { except: obtained.token.deviceId });
  const expiry: Date | null = tokens.expiryOf(obtained.token);
  const imported: ImportedToken[] = [
    { userId: id, key: '0'.repeat(40), created: new Date() },
    { userId: id, digest: '0'.repeat(64), created: new Date(), lifespan: null, name: 'old', lastUsedAt: null },
    { userId: id, key: '1'.repeat(40), created: new Date(), scopes: ['notes:read'] },
    { userId: id, digest: '1'.repeat(64), created: new Date(), abilities: '["notes:read"]' },
  ];
  const taken: number = await tokens.import(imported);
  const pruned: number = await tokens.prune();

  const changed: boolean = await users.changePassword(id, 'a third horse', { except: obtained.token.deviceId });
  const locked: boolean = await users.setActive(id, false);
  const event: ReusedEvent = { userId: id, deviceId: fields.deviceId };
  const changedEvent: PasswordChangedEvent = event;
  const code: ExpiringTokenErrorCode = await tokens.authenticate(obtained.plainText).then(
    () => 'token_missing' as const,
    (error: ExpiringTokenException) => error.code,
  );
  const deleted: boolean = await users.delete(changedEvent.userId);

  const results = [
    known.username,
    purpose,
    devices.length,
    revoked,
    ended,
    expiry instanceof Date,
    taken,
    pruned,
    mayWrite,
  ];
  deepEqual(results, ['ben', 'access', 3, true, 1, true, 4, 0, false]);
  deepEqual([changed, locked, code, deleted], [true, true, 'user_inactive', true]);
  deepEqual(hashed.split('$')[1], 'argon2id');
}

/** Describes an error of the package. */
export const describeError = (error: unknown): string => {
  if (error instanceof ExpiringTokenException) return `${error.getStatus()} ${error.code}`;
  if (error instanceof ExpiringTokenOptionsError) return error.message;
  throw error;
};

/** The exports of the other package entries, with their types. */
export const otherEntries: {
  migrations: (new () => MigrationInterface)[];
  testing: unknown[];
} = {
  migrations: [...migrations, ...tokenMigrations],
  testing: [actingAs, ExpiringTokenTestingModule.forRoot('1h'), new TestClock().now, userStoreContract],
};
