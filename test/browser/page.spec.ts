import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it, onTestFinished } from 'vitest';
import { DEMO } from '../../sample-app/demo-user.js';
import { bearer, request } from '../fixtures/http.js';
import { launch, violations } from './chromium.js';
import { Sample } from './sample.js';

/** Lifespan of a token, which the page renews after three quarters of it, plus at most a second. */
const LIFESPAN_MS = 8000;
/** "Immediately": the page checks each second, and this machine may be busy. Without the check, the change would show later than this. */
const IMMEDIATELY_MS = 5000;

const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:148.0) Gecko/20100101 Firefox/148.0';
const IPHONE =
  'Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/19.1 Mobile/15E148 Safari/604.1';

const NOTES = [
  'Water the plants',
  'Ask Ines about the invoice of March',
  'Milk, bread, coffee\nand something for Sunday',
];

/** The text that a screen reader reads for a field after its label. */
const descriptionOf = (page: Page, id: string) =>
  page.evaluate(`document.getElementById('${id}').getAttribute('aria-describedby').split(' ')
    .map((other) => document.getElementById(other).textContent).join(' ').trim()`);

/** Whether to write screenshots to docs/images: `npm run screenshots`. */
const SCREENSHOTS = process.env.SCREENSHOTS === '1';

describe('The page of the sample application', () => {
  let browser: Browser;
  let sample: Sample;
  /** Errors in the console, and requests to other servers: no window may have any. */
  let browserErrors: string[] = [];

  beforeAll(async () => {
    [browser, sample] = await Promise.all([launch(), Sample.start('1h')]);
  });

  afterEach(async () => {
    await Promise.all(browser.contexts().map((context) => context.close()));
    const found = browserErrors;
    browserErrors = [];
    expect(found).toEqual([]);
  });

  afterAll(async () => {
    await browser?.close();
    await sample?.stop();
  });

  /** Starts another sample application, for a test that stops it or reaches its limits. */
  async function startSample(lifespan: string): Promise<Sample> {
    const own = await Sample.start(lifespan);
    onTestFinished(() => own.stop());
    return own;
  }

  function listenTo(page: Page, origin: string): void {
    page.on('pageerror', (error) => browserErrors.push(error.message));
    page.on('console', (message) => {
      // The browser also logs each request that was rejected or not answered. These are expected.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) {
        browserErrors.push(message.text());
      }
    });
    page.on('request', (sent) => {
      if (new URL(sent.url()).origin !== origin) browserErrors.push(`request to ${sent.url()}`);
    });
  }

  /** Opens a window in a new browser profile, which has no cookies. */
  async function openWindow({ origin } = sample, options?: BrowserContextOptions): Promise<Page> {
    const context = await browser.newContext({ baseURL: origin, locale: 'en-GB', ...options });
    context.setDefaultTimeout(10_000);
    context.on('page', (page) => listenTo(page, origin));
    const page = await context.newPage();
    await page.goto('/');
    return page;
  }

  const heading = (page: Page, name: string) => page.getByRole('heading', { name, exact: true });
  const button = (page: Page, name: string) => page.getByRole('button', { name, exact: true });
  const device = (page: Page, name: string) => page.getByRole('listitem').filter({ hasText: name });

  async function enter(page: Page, password = DEMO.password, deviceName = ''): Promise<void> {
    await page.getByLabel('User name').fill(DEMO.username);
    await page.getByLabel('Password').fill(password);
    await page.getByLabel('Name of this device').fill(deviceName);
    await button(page, 'Sign in').click();
  }

  async function signIn(page: Page, deviceName?: string): Promise<Page> {
    await enter(page, DEMO.password, deviceName);
    await heading(page, 'Your notes').waitFor();
    return page;
  }

  const signedIn = async (deviceName: string, own = sample, options?: BrowserContextOptions) =>
    signIn(await openWindow(own, options), deviceName);

  const atForm = (page: Page, timeout = IMMEDIATELY_MS) => heading(page, 'Sign in to Notes').waitFor({ timeout });

  async function addNote(page: Page, text: string): Promise<void> {
    await page.getByLabel('New note').fill(text);
    await button(page, 'Add note').click();
    await page.getByRole('list', { name: 'Notes' }).getByText(text).waitFor();
  }

  const nextRefresh = (page: Page) => page.waitForResponse((response) => response.url().endsWith('/auth/refresh'));

  describe('Signing in', () => {
    it('keeps the refresh token where no script can read it, and survives a reload', async () => {
      const page = await openWindow();
      const login = page.waitForResponse((response) => response.url().endsWith('/auth/login'));
      await signIn(page);
      const answer = await (await login).json();
      expect(answer).toHaveProperty('token');
      expect(answer).not.toHaveProperty('refreshToken');
      const [cookie, ...others] = await page.context().cookies(`${sample.origin}/auth/refresh`);
      expect(cookie).toMatchObject({ httpOnly: true, sameSite: 'Strict', path: '/auth/refresh' });
      expect(others).toEqual([]);
      const stored = '[document.cookie, ...Object.values(localStorage), ...Object.values(sessionStorage)].join("")';
      expect(await page.evaluate(stored)).toBe('');

      await addNote(page, 'Buy milk');
      await page.reload();
      await page.getByText('Buy milk').waitFor();
      expect(await device(page, 'This device').textContent()).toContain('Chrome');

      await button(page, 'Sign out').click();
      await page.getByText('You are signed out.').waitFor();
      expect(await page.context().cookies(`${sample.origin}/auth/refresh`)).toEqual([]);
      await page.reload();
      await atForm(page);
      expect(await page.getByText('Buy milk').count()).toBe(0);
    });

    it('is offered to a browser without a cookie, without an error in the console', async () => {
      const page = await openWindow();
      const messages: string[] = [];
      page.on('console', (message) => messages.push(message.text()));
      await page.reload();
      await atForm(page);
      expect(messages).toEqual([]);
      expect(await page.title()).toBe('Sign in · Notes');
    });

    it('shows after a reload that the account is locked', async () => {
      const page = await signedIn('Locked');
      expect(await page.title()).toBe('Notes');
      const json = { statusCode: 401, code: 'user_inactive', message: 'User inactive or deleted' };
      await page.route('**/auth/refresh', (route) => route.fulfill({ status: 401, json }));
      await page.reload();
      await page.getByText('Your account is locked.').waitFor();
      expect(await descriptionOf(page, 'username')).toBe('Your account is locked.');
    });

    it('shows what is wrong, and how long to wait after too many attempts', async () => {
      const page = await openWindow(await startSample('1h'));
      const [message, password] = [page.getByRole('alert'), page.getByLabel('Password')];
      await enter(page, 'wrong');
      await message.getByText('The user name or the password is wrong.').waitFor();
      expect(await page.evaluate('document.activeElement.id')).toBe('password');
      expect(await descriptionOf(page, 'password')).toBe('The user name or the password is wrong.');
      expect(await password.getAttribute('aria-invalid')).toBe('true');
      for (let attempt = 2; attempt <= 10; attempt++) {
        const answer = page.waitForResponse((response) => response.url().endsWith('/auth/login'));
        await password.press('Enter');
        expect((await answer).status(), `attempt ${attempt}`).toBe(401);
      }
      await password.press('Enter');
      const throttled = /^Too many failed attempts\. Try again in (5:00|4:5\d), at \d\d:\d\d:\d\d\.$/;
      await message.getByText(throttled).waitFor();
      expect(await password.getAttribute('aria-invalid')).toBe('false');
      await enter(page);
      await message.getByText('Too many failed attempts.').waitFor();
    });

    it('removes earlier messages', async () => {
      const page = await signedIn('Talkative');
      await button(page, 'Renew now').click();
      await page.getByText('The token is renewed.').waitFor();
      await page.route('**/auth/logout-all', (route) => route.abort(), { times: 1 });
      await button(page, 'Sign out everywhere').click();
      await page.locator('#devices-error').getByText('The server does not answer.').waitFor();
      await button(page, 'Sign out').click();
      const goodbye = page.getByText('You are signed out.');
      await goodbye.waitFor();
      expect(await page.getByText('The token is renewed.').count()).toBe(0);
      expect(await page.getByText('The server does not answer.').count()).toBe(0);
      await enter(page, 'wrong');
      await page.getByText('The user name or the password is wrong.').waitFor();
      expect(await goodbye.count()).toBe(0);
    });

    it('works without a mouse', async () => {
      const page = await openWindow();
      await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('username');
      const { keyboard } = page;
      await keyboard.type(DEMO.username);
      await keyboard.press('Tab');
      await keyboard.type(DEMO.password);
      await keyboard.press('Enter');
      await heading(page, 'Your notes').waitFor();
      await expect.poll(() => page.evaluate('document.activeElement.id')).toBe('notes-heading');
      await keyboard.press('Tab');
      await keyboard.type('Water the plants');
      await keyboard.press('Tab');
      await keyboard.press('Enter');
      await page.getByRole('list', { name: 'Notes' }).getByText('Water the plants').waitFor();
      expect(await page.evaluate('document.activeElement.id')).toBe('draft');
    });
  });

  describe('The token', () => {
    it('is counted down, and renewed before it expires, without a rejected request', async () => {
      const page = await openWindow(await startSample(`${LIFESPAN_MS}ms`));
      const login = page.waitForRequest((sent) => sent.url().endsWith('/auth/login'));
      await signIn(page);
      const rejected: string[] = [];
      page.on('response', (response) => {
        if (response.status() >= 400) rejected.push(`${response.status()} ${response.url()}`);
      });
      const begin = Date.now();
      const renewal = nextRefresh(page);
      await page.getByRole('timer').getByText('0:04').waitFor();
      await page.getByRole('timer').getByText('0:03').waitFor();
      const elapsedMs = (await renewal).request().timing().startTime - (await login).timing().startTime;
      expect(elapsedMs).toBeGreaterThan(LIFESPAN_MS / 2);
      expect(elapsedMs).toBeLessThan(LIFESPAN_MS);
      await page.getByText('once', { exact: true }).waitFor();
      // The first token has expired by then.
      await expect.poll(() => Date.now(), { timeout: LIFESPAN_MS }).toBeGreaterThan(begin + LIFESPAN_MS);
      await addNote(page, 'Longer than a token');
      expect(rejected).toEqual([]);
    });

    it('that expired while the machine was offline is renewed when it is online again', async () => {
      const page = await signedIn('Laptop', await startSample('3s'));
      await page.context().setOffline(true);
      await page.getByText('The server does not answer.').waitFor();
      await page.getByRole('timer').getByText('0:00').waitFor();
      const renewal = nextRefresh(page);
      await page.context().setOffline(false);
      expect((await renewal).status()).toBe(200);
      await page.getByText('The server does not answer.').waitFor({ state: 'hidden' });
      await addNote(page, 'Back again');
    });

    it('is renewed by two windows simultaneously, and neither is signed out', async () => {
      const first = await signedIn('Shared');
      const second = await first.context().newPage();
      await second.goto('/');
      await heading(second, 'Your notes').waitFor();
      for (let round = 0; round < 3; round++) {
        const renewals = await Promise.all(
          [first, second].map(async (page) => {
            const answer = nextRefresh(page);
            await button(page, 'Renew now').click();
            return (await answer).status();
          }),
        );
        expect(renewals, `round ${round}`).toEqual([200, 200]);
      }
      await Promise.all([addNote(first, 'From the first window'), addNote(second, 'From the second window')]);
    });
  });

  describe('Devices', () => {
    it('are named after their browser, and can be renamed', async () => {
      const [laptop] = [await signedIn('Work laptop'), await signedIn('Telephone', sample, { userAgent: IPHONE })];
      const telephone = device(laptop, 'Telephone');
      await telephone.getByText('Safari 19 on iPhone').waitFor();
      await telephone.getByText('Last used just now').waitFor();
      expect(await telephone.getByText('This device').isVisible()).toBe(false);
      expect(await device(laptop, 'Work laptop').getByText('This device').isVisible()).toBe(true);

      await button(laptop, 'Rename Telephone').click();
      await laptop.keyboard.press('Escape');
      expect(await laptop.evaluate('document.activeElement.ariaLabel')).toBe('Rename Telephone');
      await laptop.keyboard.press('Enter');
      await laptop.keyboard.type('Old <b>telephone</b>');
      await laptop.keyboard.press('Enter');
      await device(laptop, 'Old <b>telephone</b>').waitFor();
    });

    it('revoked from another window return to the form immediately, and keep their notes and the unfinished one', async () => {
      const here = await signedIn('Here');
      const there = await signedIn('There', sample, { userAgent: FIREFOX });
      await addNote(here, 'Kept on the server');
      await here.getByLabel('New note').fill('Half a tho');
      await button(there, 'Sign out Here').click();
      await atForm(here);
      await here.getByText('This device was signed out from somewhere else. What you were writing is kept.').waitFor();
      expect(await here.getByText('Kept on the server').count()).toBe(0);
      expect(await here.getByLabel('User name').inputValue()).toBe(DEMO.username);
      expect(await here.evaluate('document.activeElement.id')).toBe('password');
      await signIn(here, 'Here again');
      await here.getByText('Kept on the server').waitFor();
      expect(await here.getByLabel('New note').inputValue()).toBe('Half a tho');
    });

    it('signed out in one window of a browser are signed out in the other', async () => {
      const first = await signedIn('Shared');
      const second = await first.context().newPage();
      await second.goto('/');
      await heading(second, 'Your notes').waitFor();
      await button(first, 'Sign out').click();
      await atForm(second);
    });

    it('are signed out except this one, and on all devices', async () => {
      const [own, other] = [await signedIn('Own'), await signedIn('Other')];
      await button(own, 'Sign out all others').click();
      await atForm(other);
      await expect.poll(() => own.getByRole('list', { name: 'Devices' }).getByRole('listitem').count()).toBe(1);
      expect(await button(own, 'Sign out all others').isDisabled()).toBe(true);
      await signIn(other);
      await button(own, 'Sign out everywhere').click();
      await own.getByText('You are signed out on all devices.').waitFor();
      await atForm(other);
    });

    it('that sign in twice in one browser become the newer device', async () => {
      const first = await openWindow();
      const second = await first.context().newPage();
      await second.goto('/');
      await atForm(second);
      await signIn(first, 'Older');
      await signIn(second, 'Newer');
      await device(first, 'Older').getByText('This device').waitFor();
      await button(first, 'Renew now').click();
      await device(first, 'Newer').getByText('This device').waitFor();
      expect(await device(first, 'Older').getByText('This device').isVisible()).toBe(false);
    });

    it('that sign in twice in one browser are signed out in their own window, and the newer one stays', async () => {
      const first = await openWindow();
      const second = await first.context().newPage();
      await second.goto('/');
      await signIn(first, 'Left window');
      await signIn(second, 'Right window');
      await button(first, 'Sign out').click();
      await first.getByText('You are signed out.').waitFor();
      await device(second, 'Left window').waitFor({ state: 'detached' });
      await second.reload();
      await device(second, 'Right window').getByText('This device').waitFor();
    });

    it('whose tokens have all expired can still be signed out', async () => {
      const lifespanMs = 3000;
      const first = await openWindow(await startSample(`${lifespanMs}ms`));
      const second = await first.context().newPage();
      await second.goto('/');
      await first.clock.install();
      await first.reload();
      await signIn(first, 'Asleep');
      const begin = Date.now();
      await first.clock.pauseAt(begin + 1000);
      await signIn(second, 'Awake');
      await expect.poll(() => Date.now(), { timeout: 2 * lifespanMs }).toBeGreaterThan(begin + lifespanMs);
      await button(first, 'Sign out').click();
      await first.getByText('You are signed out.').waitFor();
      expect(await heading(second, 'Your notes').isVisible()).toBe(true);
    });

    it('without a name are shown with the name of their program', async () => {
      const page = await openWindow();
      await page.route('**/auth/devices', async (route) => {
        const [current] = await (await route.fetch()).json();
        const known = { ...current, id: 'known', name: null, userAgent: FIREFOX, current: false };
        await route.fulfill({ json: [current, known, { ...known, id: 'unknown', userAgent: null }] });
      });
      await signIn(page, 'Named');
      await button(page, 'Sign out Firefox 148 on Windows').waitFor();
      await device(page, 'Unknown program').waitFor();
      expect(await device(page, 'null').count()).toBe(0);
    });

    it('on which the user signed out show nothing of the unfinished note', async () => {
      const page = await signedIn('Family');
      await page.getByLabel('New note').fill('A secret of the demo user');
      await button(page, 'Sign out').click();
      await signIn(page);
      expect(await page.getByLabel('New note').inputValue()).toBe('');
    });
  });

  it('survives the end of its server: shows a message, signs nobody out, and continues', async () => {
    const own = await startSample('1h');
    const page = await signedIn('Patient', own);
    await page.getByLabel('New note').fill('Written in the dark');
    await own.stop();
    await page.getByRole('alert').getByText('The server does not answer.').first().waitFor({ timeout: IMMEDIATELY_MS });
    await button(page, 'Add note').click();
    await button(page, 'Sign out').click();
    await button(page, 'Renew now').click();
    for (const place of ['#write-error', '#sign-out-error', '#renew-error']) {
      await page.locator(place).getByText('The server does not answer.').waitFor();
    }
    expect(await heading(page, 'Your notes').isVisible()).toBe(true);
    await own.start();
    await page.getByText('You stay signed in.').waitFor({ state: 'hidden' });
    await button(page, 'Add note').click();
    await page.getByRole('list', { name: 'Notes' }).getByText('Written in the dark').waitFor();
  });

  it('shows a rejected request as such, and not as an outage', async () => {
    const page = await signedIn('Busy');
    const json = { statusCode: 429, message: 'Too many requests' };
    await page.route('**/auth/devices', (route) => route.fulfill({ status: 429, json }));
    await page.getByRole('alert').getByText('Too many requests. Trying again.').waitFor();
    await page.unroute('**/auth/devices');
    await page.getByText('Trying again.').waitFor({ state: 'hidden' });
  });

  it('shows before a login why it is not possible, without the text about staying signed in', async () => {
    const page = await signedIn('Early');
    await page.route('**/auth/refresh', (route) => route.abort());
    await page.reload();
    await page.getByRole('alert').getByText('Trying again.').waitFor();
    expect(await page.getByText('You stay signed in.').count()).toBe(0);
    const json = { statusCode: 403, message: 'The refresh cookie is for pages of this origin' };
    await page.route('**/auth/refresh', (route) => route.fulfill({ status: 403, json }));
    await page.getByText('The refresh cookie is for pages of this origin').waitFor();
    await atForm(page);
  });

  describe('Accessibility', () => {
    const look = { colorScheme: 'light', viewport: { width: 1280, height: 900 }, deviceScaleFactor: 1.5 } as const;
    let scene: Sample;

    /** The devices and notes of a user who has used the application for some time. */
    beforeAll(async () => {
      scene = await Sample.start('1m');
      const post = (path: string, body: object, headers: readonly (readonly [string, string])[]) =>
        request(scene.origin, path, { method: 'POST', body, headers });
      await post('/auth/login', { ...DEMO, deviceName: 'Office' }, [['User-Agent', FIREFOX]]);
      const { token } = (await post('/auth/login', { ...DEMO, deviceName: 'Telephone' }, [['User-Agent', IPHONE]]))
        .json;
      for (const text of NOTES) await post('/notes', { text }, bearer(token));
    });

    afterAll(() => scene.stop());

    it.each([
      ['light', look],
      ['dark', { ...look, colorScheme: 'dark' }],
      ['320', { ...look, viewport: { width: 320, height: 640 } }],
    ] as const)('axe-core finds no problem, and nothing is cut off: %s', async (name, options) => {
      const page = await openWindow(scene, options);
      const check = async (view: string) => {
        expect(await violations(page), view).toEqual([]);
        expect(await page.evaluate('document.documentElement.scrollWidth <= innerWidth'), view).toBe(true);
        if (SCREENSHOTS) await page.screenshot({ path: `docs/images/${view}-${name}.png`, fullPage: name === '320' });
      };
      await enter(page, 'wrong');
      await page.getByText('The user name or the password is wrong.').waitFor();
      await check('sign-in');
      await signIn(page, 'Laptop');
      await page.getByText('Water the plants').waitFor();
      // A screenshot with a full ring would show less.
      if (SCREENSHOTS) await page.getByRole('timer').getByText('0:43').waitFor({ timeout: 60_000 });
      await check('page');
      await button(page, 'Rename Laptop').click();
      expect(await violations(page)).toEqual([]);
      await button(page, 'Cancel').click();
      await button(page, 'Sign out').click();
      await atForm(page);
    });

    it.each([
      ['wide', 1280],
      ['narrow', 320],
    ])('axe-core finds no problem on the page of the processes, and nothing is cut off: %s', async (_, width) => {
      const page = await signedIn('Operator', sample, { viewport: { width, height: 640 } });
      expect(await page.getByRole('link', { name: 'Processes' }).isVisible()).toBe(false);
      // This sample application is a single process, so the test fulfils these requests.
      const figures = { pid: 40_001, requests: 1_234_567, cacheHits: 1_230_000, lookUps: 4567, revocations: 890 };
      const processes = [1, 2, 3, 4].map((number) => ({ ...figures, number, lastDelayMs: number === 4 ? null : 12.3 }));
      await page.route('**/status.json', (route) => route.fulfill({ json: { processes } }));
      for (const file of ['status.html', 'status.css', 'status.js']) {
        const address = `**/${file.replace('.html', '')}`;
        await page.route(address, (route) => route.fulfill({ path: `examples/cluster/page/${file}` }));
      }
      await page.route('**/me', async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ json: { ...(await answer.json()), isInCluster: true } });
      });
      await page.reload();
      await page.getByRole('link', { name: 'Processes' }).click();
      await page.getByText('Up to date.').waitFor();
      expect(await page.getByText('12.3 ms').count()).toBe(3);
      // In one call, because the page replaces the cells each second.
      const cells = await page.evaluate<[left: number, right: number][]>(
        `Array.from(document.querySelectorAll('td'), (cell) => cell.getBoundingClientRect()).map(({ left, right }) => [left, right])`,
      );
      expect(cells).toHaveLength(20);
      expect(cells.filter(([left, right]) => left < 0 || right > width || right <= left)).toEqual([]);
      expect(await violations(page)).toEqual([]);
      await page.emulateMedia({ colorScheme: 'dark' });
      expect(await violations(page)).toEqual([]);
      await page.getByRole('link', { name: 'Your notes' }).click();
      await heading(page, 'Your notes').waitFor();
    });

    it('shows messages in elements that a screen reader observes from the start', async () => {
      const page = await openWindow();
      for (const id of ['trouble', 'goodbye', 'sign-in-error', 'news']) {
        expect(await page.locator(`#${id}`).textContent(), id).toBe('');
        expect(await page.evaluate(`getComputedStyle(document.getElementById('${id}')).display`), id).toBe('block');
      }
    });

    it('has no transitions for users who prefer reduced motion', async () => {
      const durations = 'getComputedStyle(document.getElementById("renew")).transitionDuration';
      const [still, usual] = [await signedIn('Still', sample, { reducedMotion: 'reduce' }), await signedIn('Usual')];
      expect(await still.evaluate(durations)).toBe('0s');
      expect(await usual.evaluate(durations)).toBe('0.12s, 0.12s');
    });
  });

  it('runs only its own scripts, and in no frame', async () => {
    const { headers } = await request(sample.origin, '/');
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'");
    expect(headers).toMatchObject({ 'x-content-type-options': 'nosniff', 'referrer-policy': 'no-referrer' });
    const page = await openWindow();
    const attempts = [
      `document.body.append(Object.assign(document.createElement('script'), { text: 'broken = true' }))`,
      `document.body.setAttribute('onclick', 'broken = true')`,
      `document.body.innerHTML = '<img src="/" onerror="broken = true">'`,
    ];
    for (const attempt of attempts) {
      await expect(page.evaluate(attempt), attempt).rejects.toThrow(/Trusted(Script|HTML)/);
    }
    expect(await page.evaluate('typeof broken')).toBe('undefined');
    expect(browserErrors.every((message) => message.includes('Trusted'))).toBe(true);
    browserErrors = [];
  });
});
