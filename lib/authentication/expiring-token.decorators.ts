import { createParamDecorator, type CustomDecorator, type PipeTransform, SetMetadata, type Type } from '@nestjs/common';
import type { Token } from '../tokens/token.entity.js';
import { findRequest } from '../transports/transport-of.js';
import {
  LOGIN_REQUIRED,
  OPENING,
  type RequiredScopes,
  SCOPES_REQUIRED,
  TOKEN_REQUIRED,
} from './handler-requirements.js';

/**
 * Opens a handler, or all handlers of a class, to everybody: {@link ExpiringTokenGuard} accepts every request and does not
 * read its token, so `@CurrentUser()` is null.
 *
 * The nearest declaration wins: a decorator of the method is stronger than one of the class, and a class is stronger than its
 * parent class. `@RequireToken()` and `@UseGuards(ExpiringTokenGuard)` are such declarations too: a method with a guard of its
 * own requires a token although its class is public. On the same method or class, `@Public()` is stronger than the guard, and
 * `@RequireToken()` is stronger than `@Public()`. A subclass does not inherit `@Public()` for the handlers that it adds.
 *
 * @example
 * ```ts
 * @Public()
 * @Get('health')
 * health() {
 *   return { status: 'ok' };
 * }
 * ```
 */
export const Public = () => SetMetadata(OPENING, 'public');

/**
 * Accepts a request without a token, and then `request.user` is null. {@link ExpiringTokenGuard} still rejects a request with
 * an invalid token, with the same errors as on any other route. The nearest declaration wins, as for {@link Public}.
 *
 * @example
 * ```ts
 * @OptionalToken()
 * @Get('news')
 * news(@CurrentUser() user: User | null) {
 *   return user ? this.news.of(user.id) : this.news.all();
 * }
 * ```
 */
export const OptionalToken = () => SetMetadata(OPENING, 'optional');

/**
 * Requires a valid token for a handler, or for all handlers of a class, although its class or parent class is `@Public()` or
 * `@OptionalToken()`. It does not add a guard: {@link ExpiringTokenGuard} stands on the class or the method, or is global.
 *
 * @example
 * ```ts
 * @Public()
 * @Controller('articles')
 * @UseGuards(ExpiringTokenGuard)
 * export class ArticlesController {
 *   @Get()
 *   list() {
 *     return this.articles.list();
 *   }
 *
 *   @RequireToken()
 *   @Post()
 *   create(@CurrentUser() user: User, @Body() article: Article) {
 *     return this.articles.create(user.id, article);
 *   }
 * }
 * ```
 */
export const RequireToken = () => SetMetadata(TOKEN_REQUIRED, true);

/**
 * Requires a token of a login for a handler, or for all handlers of a class: a personal token is answered 403 `login_required`.
 * Use it where the user's account is managed, for example for payments, or for a changed e-mail address: a script that loses its
 * token then does not lose the account. It includes {@link RequireToken}. On a class it also applies to handlers with
 * `@OptionalToken()`.
 *
 * With `AuthGuard('expiring-token')` it does nothing: that guard does not read decorators.
 *
 * @example
 * ```ts
 * @RequireLogin()
 * @UseGuards(ExpiringTokenGuard)
 * @Post('email')
 * change(@CurrentUser() user: User, @Body() { email }: ChangeEmail) {
 *   return this.accounts.changeEmail(user.id, email);
 * }
 * ```
 */
export const RequireLogin = () => SetMetadata(LOGIN_REQUIRED, true);

/** Adds required scopes to those that other decorators of the same method or class require. */
const addScopes = (scopes: RequiredScopes): CustomDecorator => {
  const decorate = (target: object, _key?: string | symbol, descriptor?: PropertyDescriptor): void => {
    const decorated = descriptor ? (descriptor.value as object) : target;
    const others = (Reflect.getOwnMetadata(SCOPES_REQUIRED, decorated) as RequiredScopes | undefined) ?? [];
    Reflect.defineMetadata(SCOPES_REQUIRED, [...scopes, ...others], decorated);
  };
  return Object.assign(decorate, { KEY: SCOPES_REQUIRED });
};

/**
 * Requires a token with all of these scopes, for a handler or for all handlers of a class. A token that may do everything has
 * them; any other one is answered 403 `scope_insufficient`, with a challenge that names what the handler asks for (RFC 6750 §3.1).
 *
 * The scopes of a method, of its class and of the parent classes add up. They need a token, as {@link RequireToken} does, also
 * beside `@OptionalToken()`. They do not add a guard: {@link ExpiringTokenGuard} stands on the class or the method, or is global.
 * In a gateway they are checked for each message.
 *
 * Danger: with `AuthGuard('expiring-token')` in place of {@link ExpiringTokenGuard} they do nothing, because Passport reads no
 * decorators.
 *
 * @param scopes - names of the option `scopes`. Another name stops the start
 * @example
 * ```ts
 * @RequireScopes('notes:write')
 * @Post()
 * create(@CurrentUser() user: User, @Body() note: CreateNote) {
 *   return this.notes.create(user.id, note);
 * }
 * ```
 */
export const RequireScopes = (...scopes: [string, ...string[]]): CustomDecorator =>
  addScopes(scopes.map((scope) => [scope]));

/**
 * Requires a token with at least one of these scopes. Otherwise it is as {@link RequireScopes}, and adds up with it.
 *
 * @param scopes - names of the option `scopes`. Another name stops the start
 * @example
 * ```ts
 * @RequireAnyScope('notes:read', 'notes:write')
 * @Get()
 * list(@CurrentUser() user: User) {
 *   return this.notes.of(user.id);
 * }
 * ```
 */
export const RequireAnyScope = (...scopes: [string, ...string[]]): CustomDecorator => addScopes([scopes]);

/** A pipe, as `@Body()` and `@Param()` take them. */
type Pipe = Type<PipeTransform> | PipeTransform;

/** Returns a property of an object, or the object itself without a name; null if there is none. */
const select = (object: unknown, property: string | undefined): unknown =>
  (property === undefined ? object : (object as Record<string, unknown> | null | undefined)?.[property]) ?? null;

const injectUser = createParamDecorator((property: string | undefined, context) =>
  select(findRequest(context)?.user, property),
);

const injectToken = createParamDecorator((property: string | undefined, context) =>
  select(findRequest(context)?.authInfo?.token, property),
);

/**
 * Parameter decorator: the authenticated user, as `UserStore.findById` returned it; null if the request was accepted without
 * a token. With the name of a property it is that property, and null if the user does not have it. Works in controllers,
 * resolvers, gateways and handlers of microservices.
 *
 * TypeScript cannot compare the type of the parameter with that of the property. It checks the name if you give the type of your
 * users: `@CurrentUser<User>('id')`.
 *
 * @param propertyOrPipes - the name of a property, and pipes
 * @example
 * ```ts
 * @Get('me')
 * me(@CurrentUser() user: User) {
 *   return { id: user.id, username: user.username };
 * }
 *
 * @Get('notes')
 * notes(@CurrentUser('id') userId: string) {
 *   return this.notes.of(userId);
 * }
 * ```
 */
export const CurrentUser = <User extends object = Record<string, unknown>>(
  ...propertyOrPipes: [property: Extract<keyof User, string>, ...Pipe[]] | Pipe[]
): ParameterDecorator => injectUser(...propertyOrPipes);

const injectActor = createParamDecorator(
  (_: undefined, context) => findRequest(context)?.authInfo?.token.actorId ?? null,
);

/**
 * Parameter decorator: the id of somebody else who uses the token in place of its user (`actor` of `ExpiringTokenService.issue`);
 * null for the user's own token, and without a token.
 *
 * @param pipes - pipes
 * @example
 * ```ts
 * @Post('orders')
 * order(@CurrentUser() user: User, @CurrentActor() actorId: string | null, @Body() order: CreateOrder) {
 *   return this.orders.create(user.id, order, { placedBy: actorId ?? user.id });
 * }
 * ```
 */
export const CurrentActor = (...pipes: Pipe[]): ParameterDecorator => injectActor(...pipes);

/**
 * Parameter decorator: the row of the token in use, a {@link Token}; null if the request was accepted without a token. With the
 * name of a property it is that property. The row does not contain the secret of the token.
 *
 * @param propertyOrPipes - the name of a property, and pipes
 * @example
 * ```ts
 * @Get('session')
 * session(@CurrentToken() token: Token) {
 *   return { deviceId: token.deviceId, since: token.created };
 * }
 *
 * @Get('device')
 * device(@CurrentToken('deviceId') deviceId: string) {
 *   return { deviceId };
 * }
 * ```
 */
export const CurrentToken = <Row extends Token = Token>(
  ...propertyOrPipes: [property: Extract<keyof Row, string>, ...Pipe[]] | Pipe[]
): ParameterDecorator => injectToken(...propertyOrPipes);
