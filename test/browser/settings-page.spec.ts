import type { INestApplication } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { ExpiringTokenService, PersonalTokenService, UserService } from 'nestjs-expiring-token';
import { ExpiringTokenTestingModule } from 'nestjs-expiring-token/testing';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { documents } from '../fixtures/documents.js';
import { bearer, request } from '../fixtures/http.js';
import { launch } from './chromium.js';

const { text } = documents.find(({ path }) => path === 'docs/api-tokens.md')!;
const PAGE = /^```html\n(.*?)^```/ms.exec(text)![1]!;

describe('The settings page of docs/api-tokens.md', () => {
  let browser: Browser;
  let app: INestApplication;
  beforeAll(async () => {
    browser = await launch();
    const module = await Test.createTestingModule({
      imports: [ExpiringTokenTestingModule.forRoot({ personal: true })],
    }).compile();
    app = module.createNestApplication({ logger: false });
    await app.listen(0, '127.0.0.1');
  });
  afterAll(async () => {
    await browser?.close();
    await app?.close();
  });

  it('makes a token, shows it once, and revokes it', async () => {
    const get = <T>(token: new (...parameters: never[]) => T) => app.get(token, { strict: false });
    const { id } = await get(UserService).create('ann', null);
    const { plainText } = await get(ExpiringTokenService).issue(id);
    const origin = await app.getUrl();
    const page = await browser.newPage();
    const errors: string[] = [];
    page.on('pageerror', ({ message }) => errors.push(message));
    await page.addInitScript(`sessionStorage.setItem('token', ${JSON.stringify(plainText)})`);
    await page.route('**/settings', (route) => route.fulfill({ contentType: 'text/html', body: PAGE }));
    await page.goto(`${origin}/settings`);

    await page.getByLabel('Name').fill('<b>nightly</b> export');
    await page.getByRole('button', { name: 'Make a token' }).click();
    const item = page.getByRole('listitem');
    await item.waitFor();
    expect(await item.textContent()).toContain('<b>nightly</b> export, last used never, expires 20');
    const token = /extp_[\w-]{70}/.exec((await page.locator('output').textContent())!)![0];
    const me = () => request(origin, '/auth/token', { headers: bearer(token) });
    expect((await me()).status).toBe(200);

    await page.reload();
    await item.waitFor();
    expect(await page.content()).not.toContain(token);
    await page.getByRole('button', { name: 'Revoke' }).click();
    await item.waitFor({ state: 'detached' });
    expect((await me()).status).toBe(401);
    expect(await get(PersonalTokenService).list(id)).toEqual([]);
    expect(errors).toEqual([]);
  });
});
