import { hasScope, type ImportedToken } from 'nestjs-expiring-token';
import { actingAs } from 'nestjs-expiring-token/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { resolveOptions } from '../lib/options/resolve-options.js';
import { parseScopes } from '../lib/options/scopes.js';
import { isWithin } from '../lib/tokens/token-scopes.js';
import { onEveryDatabase, PASSWORD, type TestApp } from './fixtures/app.js';
import { drfKey, sanctumToken } from './fixtures/predecessors.js';

const CATALOGUE = ['notes:read', 'notes:write', '!', '~', '[x]'];

describe('The option scopes', () => {
  it('is a list of scope tokens, and nothing without it', () => {
    expect(resolveOptions({ scopes: CATALOGUE }).scopes).toEqual(CATALOGUE);
    expect(resolveOptions({}).scopes).toBeNull();
  });

  it.each([
    ['notes:read', '"notes:read"'],
    [['notes read'], '"notes read"'],
    [['say "hello"'], 'hello'],
    [['back\\slash'], 'slash'],
    [['naïve'], '"naïve"'],
    [[''], '""'],
    [[7], '7'],
    [[undefined], 'undefined'],
    [[null], 'null'],
    [['a', 'b', 'a'], '"a"'],
    [['a'.repeat(1001)], 'aaa'],
    [null, 'null'],
  ])('stops the start if it is %o', (scopes, shown) => {
    const resolve = () => resolveOptions({ scopes: scopes as string[] });
    expect(resolve).toThrow(/^ExpiringTokenModule: scopes: .+ is not allowed\. Give a list of different names/);
    expect(resolve).toThrow(shown);
  });
});

describe('The scopes of a token', () => {
  it('are all that it has, and a token without a list has them all', () => {
    expect(hasScope({ scopes: ['notes:read'] }, 'notes:read')).toBe(true);
    expect(hasScope({ scopes: ['notes:read'] }, 'notes:write')).toBe(false);
    expect(hasScope({ scopes: ['notes:read'] }, 'notes')).toBe(false);
    expect(hasScope({ scopes: ['*'] }, 'notes:read')).toBe(false);
    expect(hasScope({ scopes: [] }, 'notes:read')).toBe(false);
    expect(hasScope({ scopes: null }, 'notes:read')).toBe(true);
  });

  it.each([undefined, 'notes:read', {}, 0, false])('allow nothing if they are %o', (scopes) => {
    expect(hasScope({ scopes: scopes as never }, 'notes:read')).toBe(false);
    expect(isWithin(scopes as never, ['notes:read'])).toBe(false);
    expect(isWithin(['notes:read'], scopes as never)).toBe(false);
  });

  it('are within others if those allow as much', () => {
    expect(isWithin(['a'], ['a', 'b'])).toBe(true);
    expect(isWithin(['a', 'b'], ['a'])).toBe(false);
    expect(isWithin([], [])).toBe(true);
    expect(isWithin(['a'], [])).toBe(false);
    expect(isWithin(['a'], null)).toBe(true);
    expect(isWithin(null, null)).toBe(true);
    expect(isWithin(null, ['a'])).toBe(false);
  });

  it('are names of the catalogue, or any names without one', () => {
    expect(parseScopes(['notes:read', 'notes:read'], CATALOGUE)).toEqual(['notes:read']);
    expect(parseScopes(['other'], null)).toEqual(['other']);
    expect(parseScopes([], CATALOGUE)).toEqual([]);
    for (const nothing of [null, undefined]) expect(parseScopes(nothing, CATALOGUE)).toBeNull();
    for (const wrong of [
      'notes:read',
      {},
      ['other'],
      ['*'],
      [undefined],
      ['notes:read notes:write'],
      [['notes:read']],
    ]) {
      expect(() => parseScopes(wrong, CATALOGUE), JSON.stringify(wrong)).toThrow('scopes:');
    }
    expect(() => parseScopes(['a b'], null)).toThrow('"a b" is not allowed');
  });

  it('fit into the column', () => {
    const fitting = ['a'.repeat(499), 'b'.repeat(500)];
    expect(parseScopes(fitting, null)).toEqual(fitting);
    expect(() => parseScopes([...fitting, 'c'], null)).toThrow('at most 1000 characters');
  });
});

describe('A token with scopes', () => {
  onEveryDatabase((environment) => {
    let app: TestApp;
    beforeAll(async () => {
      app = await environment.boot({
        options: { scopes: CATALOGUE, refresh: {}, imported: ['drf', 'sanctum'] },
      });
    });

    const shown = async (token: string) => (await app.get('/auth/token', token)).json.scopes;

    it('is issued with names of the catalogue, and GET token shows them', async () => {
      const { id } = await app.createUser();
      const { plainText, token } = await app.tokens.issue(id, { scopes: CATALOGUE });
      expect(token.scopes).toEqual(CATALOGUE);
      expect(await shown(plainText)).toEqual(CATALOGUE);
      expect((await app.get('/me', plainText)).json.token.scopes).toEqual(CATALOGUE);
      expect(await shown((await app.tokens.issue(id, { scopes: [] })).plainText)).toEqual([]);
      expect(await shown((await app.tokens.issue(id)).plainText)).toBeNull();
      expect(await shown((await app.tokens.issue(id, { scopes: null })).plainText)).toBeNull();
    });

    it('is not issued with another name, and nothing is stored then', async () => {
      const { id } = await app.createUser();
      for (const scopes of [['other'], ['*'], 'notes:read']) {
        await expect(app.tokens.issue(id, { scopes: scopes as string[] }), String(scopes)).rejects.toMatchObject({
          name: 'ExpiringTokenOptionsError',
          message: expect.stringContaining('notes:read, notes:write'),
        });
      }
      expect(await app.tokens.list(id)).toEqual([]);
    });

    it('can be as long as its column, with any characters that are allowed', async () => {
      const wide = await environment.boot({ clock: app.clock });
      const printable = Array.from({ length: 0x7e - 0x21 + 1 }, (_, index) => String.fromCharCode(0x21 + index));
      const scopes = printable.filter((character) => character !== '"' && character !== '\\');
      const longest = [scopes.join(''), 'x'.repeat(1000 - scopes.length - 1)];
      const { plainText } = await wide.tokens.issue((await wide.createUser()).id, { scopes: longest });
      expect((await wide.get('/auth/token', plainText)).json.scopes).toEqual(longest);
    });

    it('comes from a login or an obtain without limits', async () => {
      const { username } = await app.createUser();
      expect(await shown((await app.login(username)).json.token)).toBeNull();
      const obtained = await app.post('/auth/obtain-token', { username, password: PASSWORD });
      expect(await shown(obtained.json.token)).toBeNull();
    });

    it('is issued by actingAs', async () => {
      const { Authorization } = await actingAs(app.nest, await app.createUser(), { scopes: ['notes:read'] });
      expect(await shown(Authorization.replace('Bearer ', ''))).toEqual(['notes:read']);
    });

    it('is imported with scopes, or with the abilities of Sanctum, of which * is everything', async () => {
      const { id: userId } = await app.createUser();
      const imported = async (limits: Partial<ImportedToken>) => {
        const { plainText, digest } = sanctumToken();
        expect(await app.tokens.import([{ userId, digest, created: new Date(app.clock.now), ...limits }])).toBe(1);
        return shown(plainText);
      };
      expect(await imported({})).toBeNull();
      expect(await imported({ scopes: ['notes:read'] })).toEqual(['notes:read']);
      expect(await imported({ scopes: [] })).toEqual([]);
      expect(await imported({ scopes: null })).toBeNull();
      expect(await imported({ abilities: '["*"]' })).toBeNull();
      expect(await imported({ abilities: ['notes:read', '*'] })).toBeNull();
      expect(await imported({ abilities: '["notes:read","notes:write"]' })).toEqual(['notes:read', 'notes:write']);
      expect(await imported({ abilities: [] })).toEqual([]);
      expect(await imported({ abilities: null })).toEqual([]);
    });

    it('is not imported with unknown names, and the error shows none', async () => {
      const { id: userId } = await app.createUser();
      const wrong: [Partial<ImportedToken>, string][] = [
        [{ scopes: ['secret-name'] }, 'scopes must be names of the option scopes'],
        [{ scopes: ['*'] }, 'scopes must be names of the option scopes'],
        [{ scopes: 'secret-name' as never }, 'scopes must be names of the option scopes'],
        [{ abilities: '["secret-name"]' }, 'abilities must be names of the option scopes'],
        [{ abilities: 'secret-name' }, 'abilities must be a list, its JSON, or null'],
        [{ abilities: '{"0":"*"}' }, 'abilities must be a list, its JSON, or null'],
        [{ abilities: '"*"' }, 'abilities must be a list, its JSON, or null'],
        [{ scopes: null, abilities: ['*'] }, 'scopes and abilities must not both be given'],
      ];
      for (const [limits, problem] of wrong) {
        const importing = app.tokens.import([{ userId, key: drfKey(), created: new Date(), ...limits }]);
        const { message }: Error = await importing.then(
          () => new Error('imported'),
          (error: Error) => error,
        );
        expect(message, problem).toContain(`tokens[0]: ${problem}`);
        expect(message, problem).not.toContain('secret-name');
      }
      expect(await app.tokens.list(userId)).toEqual([]);
    });

    it('does not get more by an import of the same token, by a new name, or by an obtain', async () => {
      const { id: userId, username } = await app.createUser();
      const { plainText, digest } = sanctumToken();
      const narrow = { userId, digest, created: new Date(app.clock.now), scopes: ['notes:read'] };
      expect(await app.tokens.import([narrow])).toBe(1);
      expect(await app.tokens.import([{ ...narrow, scopes: null }])).toBe(0);
      const { deviceId } = (await app.get('/auth/token', plainText)).json;
      const renamed = await app.send(`/auth/devices/${deviceId}`, {
        method: 'PATCH',
        body: { name: 'notes:write', scopes: null },
        headers: [['Authorization', `Bearer ${plainText}`]],
      });
      expect(renamed.status).toBe(200);
      await app.post('/auth/obtain-token', { username, password: PASSWORD, scopes: null }, plainText);
      expect(await shown(plainText)).toEqual(['notes:read']);
    });
  });
});
