import { RequestRejected, Session } from './session.js';
import { ago, browserOf, clockTime, countdown, dayTime, nameOf } from './words.js';

/** Poll interval: after this time the page notices that its session was ended elsewhere, or that the server is back. */
const POLL_MS = 1000;
const POLL_HIDDEN_MS = 30_000;
/** Maximum pause between two attempts to reach an unavailable server. */
const MAX_PAUSE_MS = 5000;
const NEWS_FOR_MS = 6000;

/** The reason that is shown above the sign-in form, by error code or by cause. */
const SIGN_OUT_REASONS = {
  user_inactive: 'Your account is locked.',
  lost: 'This device was signed out from somewhere else.',
  out: 'You are signed out.',
  everywhere: 'You are signed out on all devices.',
};

const $ = (id) => document.getElementById(id);

/** The session of this window; null while the sign-in form is shown. */
let session = null;
/** The id of the user who wrote the draft. The draft outlives the session, but is never shown to another user. */
let draftOwnerId;

/* Utilities */

const write = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

const fromTemplate = (id) => $(id).content.firstElementChild.cloneNode(true);

let newsTimer;
function announce(text) {
  clearTimeout(newsTimer);
  write($('news'), text);
  newsTimer = setTimeout(() => write($('news'), ''), NEWS_FOR_MS);
}

/** Waits for the next poll. Ends early if the window becomes visible or the network comes back. */
function pause(failures) {
  const backOffMs = Math.min(MAX_PAUSE_MS, POLL_MS * 2 ** failures);
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', end);
      window.removeEventListener('online', end);
      resolve();
    };
    const timer = setTimeout(end, document.hidden ? POLL_HIDDEN_MS : backOffMs);
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

/** Shows why the page is out of date. Hides the message if there is no error. */
function showTrouble(error) {
  const reassurance = session ? ' You stay signed in.' : '';
  write($('trouble'), error ? `${explain(error)} Trying again.${reassurance}` : '');
}

/* Sessions */

/** Resumes the session of the refresh cookie. Rejects if there is none. Retries while the server is unavailable. */
async function resume() {
  for (let failures = 0; ; failures++) {
    try {
      return await Session.resume();
    } catch (error) {
      if (error instanceof RequestRejected) throw error;
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
  announce('');
  for (const errors of document.querySelectorAll('.error')) write(errors, '');
  $('notes').replaceChildren();
  $('devices').replaceChildren();
  write($('goodbye'), goodbye);
  $($('username').value ? 'password' : 'username').focus();
}

/** Starts a session: shows the data of its user, and polls until the session ends. */
async function startSession(opened) {
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
      if (error.status === 401) return onSessionLost(opened, error);
      failures++;
      showTrouble(error);
    }
    await pause(failures);
  }
}

async function showDesk(opened) {
  const [me, notes] = await Promise.all([opened.call('GET', '/me'), opened.call('GET', '/notes')]);
  if (draftOwnerId !== me.id) $('write').reset();
  draftOwnerId = me.id;
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

/** Shows the form after the session was ended elsewhere. The draft is kept for its author. */
async function onSessionLost(lost, { code }) {
  if (session !== lost) return;
  session = null;
  const kept = $('draft').value ? ' What you were writing is kept.' : '';
  showForm((SIGN_OUT_REASONS[code] ?? SIGN_OUT_REASONS.lost) + kept);
  // Another window of this browser may have signed in since.
  const successor = await resume().catch(() => showTrouble(null));
  if (successor && !session) void startSession(successor);
}

/** Signs the user out on request, and deletes the draft. */
async function signOut(everywhere) {
  await session.end(everywhere);
  session = null;
  $('write').reset();
  showForm(everywhere ? SIGN_OUT_REASONS.everywhere : SIGN_OUT_REASONS.out);
}

/**
 * Runs the action of a control, unless it is already running. Shows an error next to the control.
 *
 * @param control the button or the form
 * @param errors the element that shows the error
 * @param work asynchronous function; receives the current session
 */
function runAction(control, errors, work) {
  if (control.ariaBusy === 'true') return;
  control.ariaBusy = 'true';
  write(errors, '');
  const acting = session;
  const fail = (error) => {
    if (acting && error.status === 401) void onSessionLost(acting, error);
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

/** Marks the user name and the password as invalid or not. */
function markCredentials(isWrong) {
  for (const id of ['username', 'password']) $(id).ariaInvalid = String(isWrong);
}

$('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  const errors = $('sign-in-error');
  clearTimeout(throttleTimer);
  write($('goodbye'), '');
  markCredentials(false);
  runAction(form, errors, async () => {
    const { username, password, deviceName } = Object.fromEntries(new FormData(form));
    try {
      const name = deviceName.trim() || browserOf(navigator.userAgent);
      const signedIn = await Session.signIn({ username, password, deviceName: name });
      $('password').value = '';
      void startSession(signedIn);
    } catch (error) {
      markCredentials(error.code === 'credentials_invalid');
      $('password').select();
      if (error.code === 'throttled') {
        throttleTimer = setTimeout(() => write(errors, 'You can try again now.'), error.retryAfterMs);
      }
      throw error;
    }
  });
});

$('sign-out').addEventListener('click', (event) =>
  runAction(event.currentTarget, $('sign-out-error'), () => signOut(false)),
);
$('sign-out-all').addEventListener('click', (event) =>
  runAction(event.currentTarget, $('devices-error'), () => signOut(true)),
);

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
  runAction(event.currentTarget, $('renew-error'), async (acting) => {
    await acting.renew();
    showLife();
    announce('The token is renewed.');
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
    runAction(button, $('write-error'), async (acting) => {
      await acting.call('DELETE', `/notes/${id}`);
      row.remove();
      $('no-notes').hidden = $('notes').childElementCount > 0;
      $('notes-heading').focus();
      announce('The note is deleted.');
    }),
  );
  return row;
}

$('write').addEventListener('submit', (event) => {
  event.preventDefault();
  const form = event.currentTarget;
  runAction(form, $('write-error'), async (acting) => {
    const note = await acting.call('POST', '/notes', { text: $('draft').value });
    form.reset();
    $('notes').prepend(noteRow(note));
    $('no-notes').hidden = true;
    $('draft').focus();
    announce('The note is added.');
  });
});

/* Devices */

/** Updates the list. Unchanged rows are not touched, because the user may be typing a name in one of them. */
function showDevices(devices, owner) {
  if (session !== owner) return;
  const list = $('devices');
  const known = new Map([...list.children].map((row) => [row.dataset.id, row]));
  for (const [id, row] of known) if (!devices.some((device) => device.id === id)) removeDevice(row);
  devices.forEach((device, index) => {
    const row = known.get(device.id) ?? deviceRow(device);
    describeDevice(row, device);
    if (list.children[index] !== row) list.insertBefore(row, list.children[index] ?? null);
    if (known.size > 0 && !known.has(device.id)) announce(`Another device has signed in: ${nameOf(device)}`);
  });
  $('sign-out-others').disabled = devices.length < 2;
}

function removeDevice(row) {
  // Otherwise the focus would be lost with the row.
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
    runAction(form, $('devices-error'), async (acting) => {
      describeDevice(row, await acting.call('PATCH', `/auth/devices/${id}`, { name: input.value }));
      edit(false);
      announce('The device is renamed.');
    });
  });
  revoke.addEventListener('click', () =>
    runAction(revoke, $('devices-error'), async (acting) => {
      if (current) return signOut(false);
      await acting.call('DELETE', `/auth/devices/${id}`);
      removeDevice(row);
      announce('The device is signed out.');
    }),
  );
  return row;
}

$('sign-out-others').addEventListener('click', (event) =>
  runAction(event.currentTarget, $('devices-error'), async (acting) => {
    const { revoked } = await acting.call('POST', '/auth/logout-all', { keepCurrent: true });
    showDevices(await acting.call('GET', '/auth/devices'), acting);
    announce(revoked === 1 ? 'One other device is signed out.' : `${revoked} other devices are signed out.`);
  }),
);

// Most visitors have no session to resume, so that case shows no message.
resume().then(startSession, (error) =>
  showForm(error.code === 'refresh_invalid' ? '' : (SIGN_OUT_REASONS[error.code] ?? explain(error))),
);
