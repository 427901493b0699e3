import { Refusal, Session } from './session.js';
import { ago, browserOf, clockTime, countdown, dayTime, nameOf } from './words.js';

/** How soon it is seen that another window has ended this one, or that the server is back. */
const LOOK_EVERY_MS = 1000;
const LOOK_EVERY_HIDDEN_MS = 30_000;
/** Longest pause between two attempts to reach a server that is away. */
const LONGEST_PAUSE_MS = 5000;
const NEWS_FOR_MS = 6000;

/** Why the form is shown, by the code of the refusal. */
const GOODBYES = {
  user_inactive: 'Your account is locked.',
  lost: 'This device was signed out from somewhere else.',
  out: 'You are signed out.',
  everywhere: 'You are signed out on all devices.',
};

const $ = (id) => document.getElementById(id);

/** The session of this window; null while the form is shown. */
let session = null;
/** The id of the user whose text is in the draft. It outlives the session, and nobody else is shown it. */
let writer;

/* Small tools */

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const fromTemplate = (id) => $(id).content.firstElementChild.cloneNode(true);

let newsTimer;
function tell(text) {
  clearTimeout(newsTimer);
  write($('news'), text);
  newsTimer = setTimeout(() => write($('news'), ''), NEWS_FOR_MS);
}

/** Waits until it is time to look again, or the window is looked at again, or the network is back. */
function pause(failures) {
  const backOffMs = Math.min(LONGEST_PAUSE_MS, LOOK_EVERY_MS * 2 ** failures);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', end);
      window.removeEventListener('online', end);
      resolve();
    };
    const timer = setTimeout(end, document.hidden ? LOOK_EVERY_HIDDEN_MS : backOffMs);
    document.addEventListener('visibilitychange', end);
    window.addEventListener('online', end);
  });
}

function explain({ code, message, retryAfterMs }) {
  switch (code) {
    case 'credentials_invalid':
      return 'The user name or the password is wrong.';
    case 'throttled':
      return `Too many failed attempts. Try again in ${countdown(retryAfterMs)}, at ${clockTime(Date.now() + retryAfterMs)}.`;
    default:
      return message;
  }
}

/** Says why nothing is up to date, until it is again. */
function showTrouble(error) {
  const comfort = session ? ' You stay signed in.' : '';
  write($('trouble'), error ? `${explain(error)} Trying again.${comfort}` : '');
}

/* Coming and going */

/** The session that this browser has a cookie of; a refusal if there is none. Waits for a server that is away. */
async function resume() {
  for (let failures = 0; ; failures++) {
    try {
      return await Session.resume();
    } catch (error) {
      if (error instanceof Refusal) throw error;
      showTrouble(error);
      await pause(failures);
    }
  }
}

function showForm(goodbye = '') {
  document.title = 'Sign in · Notes';
  $('desk').hidden = true;
  $('welcome').hidden = false;
  showTrouble(null);
  tell('');
  for (const errors of document.querySelectorAll('.error')) write(errors, '');
  $('notes').replaceChildren();
  $('devices').replaceChildren();
  write($('goodbye'), goodbye);
  $($('username').value ? 'password' : 'username').focus();
}

/** Begins a session: shows what belongs to its user, and keeps looking until it ends. */
async function open(opened) {
  session = opened;
  let failures = 0;
  let shown = false;
  while (session === opened) {
    try {
      if (!shown) await showDesk(opened);
      shown = true;
      showDevices(await opened.call('GET', '/auth/devices'), opened);
      failures = 0;
      showTrouble(null);
    } catch (error) {
      if (session !== opened) return;
      if (error.status === 401) return lose(opened, error);
      failures++;
      showTrouble(error);
    }
    await pause(failures);
  }
}

async function showDesk(opened) {
  const [me, notes] = await Promise.all([opened.call('GET', '/me'), opened.call('GET', '/notes')]);
  if (writer !== me.id) $('write').reset();
  writer = me.id;
  write($('who'), me.username);
  $('processes').hidden = !me.isInCluster;
  $('username').value = me.username;
  showNotes(notes);
  showLife();
  document.title = 'Notes';
  $('welcome').hidden = true;
  $('desk').hidden = false;
  $('notes-heading').focus();
}

/** Somebody has ended the session. What was being written stays, for its writer. */
async function lose(lost, { code }) {
  if (session !== lost) return;
  session = null;
  const kept = $('draft').value ? ' What you were writing is kept.' : '';
  showForm((GOODBYES[code] ?? GOODBYES.lost) + kept);
  // Another window of this browser may have signed in since.
  const successor = await resume().catch(() => showTrouble(null));
  if (successor && !session) void open(successor);
}

/** Ends the session because its user says so: nothing stays. */
async function leave(everywhere) {
  const leaving = session;
  await leaving.end(everywhere);
  session = null;
  $('write').reset();
  showForm(everywhere ? GOODBYES.everywhere : GOODBYES.out);
}

/**
 * Does what a control is for, once at a time, and says beside it what went wrong.
 *
 * @param control the button or the form
 * @param errors where to say it
 * @param work asynchronous, with the session that it is done in
 */
function act(control, errors, work) {
  if (control.ariaBusy === 'true') return;
  control.ariaBusy = 'true';
  write(errors, '');
  const acting = session;
  const fail = (error) => {
    if (acting && error.status === 401) void lose(acting, error);
    else write(errors, explain(error));
  };
  work(acting)
    .catch(fail)
    .finally(() => {
      control.ariaBusy = 'false';
    });
}

/* Signing in */

let throttleTimer;

/** Says of what was entered whether it was wrong. */
function blame(isWrong) {
  for (const id of ['username', 'password']) $(id).ariaInvalid = String(isWrong);
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const errors = $('sign-in-error');
  clearTimeout(throttleTimer);
  write($('goodbye'), '');
  blame(false);
  act(form, errors, async () => {
    const { username, password, deviceName } = Object.fromEntries(new FormData(form));
    try {
      const name = deviceName.trim() || browserOf(navigator.userAgent);
      const signedIn = await Session.signIn({ username, password, deviceName: name });
      $('password').value = '';
      void open(signedIn);
    } catch (error) {
      blame(error.code === 'credentials_invalid');
      $('password').select();
      if (error.code === 'throttled') {
        throttleTimer = setTimeout(() => write(errors, 'You can try again now.'), error.retryAfterMs);
      }
      throw error;
    }
  });
});

$('sign-out').addEventListener('click', (event) => act(event.currentTarget, $('sign-out-error'), () => leave(false)));
$('sign-out-all').addEventListener('click', (event) => act(event.currentTarget, $('devices-error'), () => leave(true)));

/* The token's life */

function showLife() {
  if (!session) return;
  const { remainingMs, renewsInMs, renewals, share, endsAt } = session;
  write($('countdown'), remainingMs === Infinity ? '∞' : countdown(remainingMs));
  $('countdown').classList.toggle('long', $('countdown').textContent.length > 5);
  $('ring').style.strokeDashoffset = (100 * (1 - share)).toFixed(1);
  write($('renews'), renewsInMs > 0 ? `at ${clockTime(Date.now() + renewsInMs)}` : 'as soon as the server answers');
  write($('renewed'), renewals === 0 ? 'not yet' : renewals === 1 ? 'once' : `${renewals} times`);
  write($('until'), endsAt ? dayTime(endsAt) : 'you sign out');
}

setInterval(showLife, 250);

$('renew').addEventListener('click', (event) =>
  act(event.currentTarget, $('renew-error'), async (acting) => {
    await acting.renew();
    showLife();
    tell('The token is renewed.');
  }),
);

/* Notes */

function showNotes(notes) {
  $('notes').replaceChildren(...notes.map(noteRow));
  $('no-notes').hidden = notes.length > 0;
}

function noteRow({ id, text, createdAt }) {
  const row = fromTemplate('note');
  row.querySelector('.note-text').textContent = text;
  row.querySelector('time').textContent = dayTime(createdAt);
  row.querySelector('time').dateTime = createdAt;
  const button = row.querySelector('button');
  button.ariaLabel = `Delete the note ${text.slice(0, 40)}`;
  button.addEventListener('click', () =>
    act(button, $('write-error'), async (acting) => {
      await acting.call('DELETE', `/notes/${id}`);
      row.remove();
      $('no-notes').hidden = $('notes').childElementCount > 0;
      $('notes-heading').focus();
      tell('The note is deleted.');
    }),
  );
  return row;
}

$('write').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  act(form, $('write-error'), async (acting) => {
    const note = await acting.call('POST', '/notes', { text: $('draft').value });
    form.reset();
    $('notes').prepend(noteRow(note));
    $('no-notes').hidden = true;
    $('draft').focus();
    tell('The note is added.');
  });
});

/* Devices */

/** Shows the list anew without touching what has not changed: somebody may be typing a name in it. */
function showDevices(devices, owner) {
  if (session !== owner) return;
  const list = $('devices');
  const known = new Map([...list.children].map((row) => [row.dataset.id, row]));
  for (const [id, row] of known) if (!devices.some((device) => device.id === id)) removeDevice(row);
  devices.forEach((device, index) => {
    const row = known.get(device.id) ?? deviceRow(device);
    describeDevice(row, device);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    if (known.size > 0 && !known.has(device.id)) tell(`Another device has signed in: ${nameOf(device)}`);
  });
  $('sign-out-others').disabled = devices.length < 2;
}

function removeDevice(row) {
  // The focus does not vanish with the row.
  if (row.contains(document.activeElement)) $('devices-heading').focus();
  row.remove();
}

function describeDevice(row, device) {
  const { userAgent, current, lastUsedAt, createdAt } = device;
  const [name, browser] = [nameOf(device), browserOf(userAgent)];
  write(row.querySelector('[data-name]'), name);
  write(row.querySelector('[data-browser]'), name === browser ? '' : browser);
  write(row.querySelector('[data-used]'), `Last used ${ago(lastUsedAt ?? createdAt)}`);
  row.querySelector('[data-current]').hidden = !current;
  row.querySelector('[data-do=rename]').ariaLabel = `Rename ${name}`;
  row.querySelector('[data-do=revoke]').ariaLabel = `Sign out ${name}`;
}

function deviceRow({ id, current }) {
  const row = fromTemplate('device');
  const form = row.querySelector('form');
  const input = row.querySelector('input');
  const [rename, revoke] = row.querySelectorAll('[data-do=rename], [data-do=revoke]');
  row.dataset.id = id;

  const edit = (editing) => {
    form.hidden = !editing;
    row.classList.toggle('editing', editing);
    if (editing) input.value = row.querySelector('[data-name]').textContent;
    if (editing) input.select();
    else rename.focus();
  };
  rename.addEventListener('click', () => edit(true));
  row.querySelector('[data-do=cancel]').addEventListener('click', () => edit(false));
  form.addEventListener('keydown', (event) => event.key === 'Escape' && edit(false));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    act(form, $('devices-error'), async (acting) => {
      describeDevice(row, await acting.call('PATCH', `/auth/devices/${id}`, { name: input.value }));
      edit(false);
      tell('The device is renamed.');
    });
  });
  revoke.addEventListener('click', () =>
    act(revoke, $('devices-error'), async (acting) => {
      if (current) return leave(false);
      await acting.call('DELETE', `/auth/devices/${id}`);
      removeDevice(row);
      tell('The device is signed out.');
    }),
  );
  return row;
}

$('sign-out-others').addEventListener('click', (event) =>
  act(event.currentTarget, $('devices-error'), async (acting) => {
    const { revoked } = await acting.call('POST', '/auth/logout-all', { keepCurrent: true });
    showDevices(await acting.call('GET', '/auth/devices'), acting);
    tell(revoked === 1 ? 'One other device is signed out.' : `${revoked} other devices are signed out.`);
  }),
);

// Most browsers that come have no session to resume: that needs no word.
resume().then(open, (error) =>
  showForm(error.code === 'refresh_invalid' ? '' : (GOODBYES[error.code] ?? explain(error))),
);
