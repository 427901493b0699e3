import { NestFactory } from '@nestjs/core';
import { UserService } from 'nestjs-expiring-token';
import { actingAs } from 'nestjs-expiring-token/testing';
import { describe, expect, inject, it, vi } from 'vitest';
import { databaseOptions } from '../sample-app/database.js';
import { bearer, request } from './fixtures/http.js';

describe('The sample application', () => {
  it('logs the demo user in, keeps notes for their owner, and shows its routes at /docs', async () => {
    const directory = process.cwd();
    process.chdir(inject('directory'));
    vi.stubEnv('DATABASE_URL', undefined);
    vi.stubEnv('REDIS_URL', undefined);
    vi.stubEnv('TOKEN_LIFESPAN', undefined);
    try {
      const { AppModule } = await import('../sample-app/app.module.js');
      const { DEMO } = await import('../sample-app/demo-user.js');
      const { serveDocs } = await import('../sample-app/docs.js');
      const app = await NestFactory.create(AppModule, { logger: false });
      serveDocs(app, 'docs');
      await app.listen(0, '127.0.0.1');
      const origin = await app.getUrl();
      const login = async (credentials: object) =>
        (await request(origin, '/auth/login', { method: 'POST', body: credentials })).json.token;
      const guest = await app.get(UserService).create('guest', 'guest-password');
      const [own, foreign] = [bearer(await login(DEMO)), Object.entries(await actingAs(app, guest))];

      const { refreshToken } = (await request(origin, '/auth/login', { method: 'POST', body: DEMO })).json;
      const pair = await request(origin, '/auth/refresh', { method: 'POST', body: { refreshToken } });
      expect((await request(origin, '/notes', { headers: bearer(pair.json.token) })).status).toBe(200);

      expect((await request(origin, '/notes')).status).toBe(401);
      const note = await request(origin, '/notes', { method: 'POST', headers: own, body: { text: 'Buy milk' } });
      expect(note.status).toBe(201);
      expect((await request(origin, '/notes', { headers: own })).json).toEqual([note.json]);
      expect((await request(origin, '/notes', { headers: foreign })).json).toEqual([]);
      expect((await request(origin, `/notes/${note.json.id}`, { headers: foreign })).status).toBe(404);
      expect((await request(origin, '/notes', { method: 'POST', headers: own, body: { text: 7 } })).status).toBe(400);
      const docs = await request(origin, '/docs-json');
      expect(Object.keys(docs.json.paths)).toEqual(expect.arrayContaining(['/auth/login', '/notes']));
      expect((await request(origin, '/docs')).status).toBe(200);
      await app.close();
    } finally {
      process.chdir(directory);
      vi.unstubAllEnvs();
    }
  });

  it('runs on the database server that DATABASE_URL names', () => {
    expect(databaseOptions('postgres://db/notes')).toMatchObject({ type: 'postgres', url: 'postgres://db/notes' });
    expect(databaseOptions('mysql://db/notes')).toMatchObject({ type: 'mysql', url: 'mysql://db/notes' });
    expect(databaseOptions(undefined)).toMatchObject({ type: 'better-sqlite3', database: 'sample.sqlite' });
    expect(() => databaseOptions('redis://db')).toThrow('DATABASE_URL must start with');
  });
});
