// The operators' page: asks the admin API every two seconds, shows what it says, and does what an operator may change.
//
// Reading order: here when to ask and what a failure means; `admin-api.js` one request; `admin-table.js` the uploads;
// `admin-filters.js` which of them; `admin-dialogs.js` one of them; `admin-panels.js` and `admin-plot.js` all around;
// `admin-words.js` how it is put.
import { api, server, token } from './admin-api.js';
import { dialogs } from './admin-dialogs.js';
import { Filters } from './admin-filters.js';
import * as panels from './admin-panels.js';
import { Plot } from './admin-plot.js';
import { Table, named, write } from './admin-table.js';
import * as words from './admin-words.js';

const EVERY = 2000;
/** Of this page's share of the server's time: where answers take long, it asks less often. */
const SHARE = 10;

const $ = (id) => document.getElementById(id);
const plot = new Plot($('plot'));
const filters = new Filters(() => ask());
const { show, confirm } = dialogs();
const table = new Table($('rows'), $('uploads'), { show: (upload) => show(upload.id), cancel });

let timer = null;
/** What is being asked; a newer question ends it. */
let asking = null;
let paused = false;
let away = null;
let uptime = null;
let answeredAt = null;

// --- Asking

/** Asks now, and again after a while, unless nobody looks. */
async function ask() {
  clearTimeout(timer);
  asking?.abort();
  const mine = new AbortController();
  asking = mine;
  const began = performance.now();
  try {
    const query = filters.query();
    // One after the other: a wrong token is refused once.
    const metrics = await api.metrics(mine.signal);
    const storage = await api.storage(mine.signal);
    const page = await list(query, mine.signal);
    if (mine.signal.aborted) return;
    answered(metrics, storage, page, query);
  } catch (trouble) {
    if (mine.signal.aborted) return;
    if (!troubled(trouble)) return;
  }
  if (paused || document.hidden) return;
  timer = setTimeout(ask, Math.max(EVERY, SHARE * (performance.now() - began)));
}

/** A selection that is refused is told beside it, and everything else goes on. */
async function list(query, signal) {
  try {
    return await api.list(query, signal);
  } catch (trouble) {
    if (trouble.kind !== 'refused') throw trouble;
    return { trouble: trouble.message };
  }
}

function answered(metrics, storage, page, query) {
  const now = Date.now();
  answeredAt = now;
  back(metrics);
  reveal('board');
  $('leave').hidden = !token.get();
  panels.tiles(metrics);
  panels.storage(storage);
  panels.diskAlert(storage.disk);
  panels.failures(metrics);
  panels.times(metrics);
  plot.add(metrics.bytes_per_second.now, now);
  write($('list-error'), page.trouble ?? '');
  if (!page.trouble) {
    filters.told(page, metrics.uploads, query);
    table.show(page.uploads, server.now());
  }
  state(paused ? 'paused' : 'live', paused ? `Paused at ${words.clock(now)}` : `Live · ${words.clock(now)}`);
}

/** The server answers. Says so if it did not before, or if it is another one than before. */
function back(metrics) {
  const restarted = uptime !== null && metrics.uptime_seconds < uptime;
  if (restarted) table.forget();
  if (away) notice(restarted ? 'The server was started again, and answers.' : 'The server answers again.');
  else if (restarted) notice('The server was started again.');
  uptime = metrics.uptime_seconds;
  away = null;
  $('away').hidden = true;
  document.body.classList.remove('stale');
}

/** What a failure means. Whether to go on asking. */
function troubled(trouble) {
  if (trouble.kind === 'token') {
    signIn(token.get() ? 'This is not the server’s admin token.' : '');
    return false;
  }
  if (trouble.kind === 'hidden') {
    notice('There is no admin API at this address: without an --admin-token it is there only at the machine itself.', 'yellow');
    state('away', 'No admin API');
    return false;
  }
  if (!(trouble.kind === 'away' || trouble.kind === 'refused')) console.error(trouble);
  if (!away) {
    away = Date.now();
    const shown = answeredAt ? `What is shown is from ${words.clock(answeredAt)}. ` : '';
    write($('away'), `${trouble.message} ${shown}This page goes on asking.`);
    $('away').hidden = false;
    document.body.classList.add('stale');
  }
  plot.add(null);
  state('away', `No answer since ${words.clock(away)}`);
  return true;
}

function state(name, text) {
  $('state').dataset.state = name;
  write($('state-text'), text);
}

let noticeTimer = null;
function notice(text, level = 'note') {
  clearTimeout(noticeTimer);
  $('notice').dataset.level = level;
  $('notice').hidden = false;
  write($('notice'), text);
  noticeTimer = setTimeout(() => ($('notice').hidden = true), 20_000);
}

// --- The token

function reveal(id) {
  const signedIn = id === 'board' && $('sign-in').contains(document.activeElement);
  for (const part of ['board', 'sign-in']) $(part).hidden = part !== id;
  if (signedIn) $('board').focus();
  $('hold').hidden = id !== 'board';
}

function signIn(error) {
  token.forget();
  asking?.abort();
  clearTimeout(timer);
  for (const dialog of document.querySelectorAll('dialog[open]')) dialog.close();
  $('away').hidden = $('disk').hidden = true;
  $('leave').hidden = true;
  away = answeredAt = null;
  reveal('sign-in');
  state('asking', 'A token is asked for');
  const field = $('token');
  field.value = '';
  field.setAttribute('aria-invalid', String(error !== ''));
  write($('token-error'), error);
  field.focus();
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('token').value.trim();
  if (!token.fits(text)) return signIn('A token is of letters, digits and signs, without blanks.');
  token.set(text);
  $('token').value = '';
  write($('token-error'), '');
  state('asking', 'Asking the server …');
  return ask();
});

$('leave').addEventListener('click', () => signIn(''));

// --- What an operator may change

/** Does one thing; what went wrong with it is said. */
async function change(doing, done) {
  try {
    notice(done(await doing()));
  } catch (trouble) {
    if (trouble.kind === 'token') return void troubled(trouble);
    notice(trouble.message, 'red');
  }
  await ask();
}

async function cancel(upload) {
  if (await confirm(upload)) await change(() => api.cancel(upload.id), () => `${named(upload)} was cancelled.`);
}

$('cleanup').addEventListener('click', async () => {
  // Not disabled while it runs: the focus would be lost.
  if ($('cleanup').getAttribute('aria-disabled') === 'true') return;
  $('cleanup').setAttribute('aria-disabled', 'true');
  await change(api.cleanup, (swept) => {
    const found = [
      [swept.expired, words.counted(swept.expired, 'expired upload')],
      [swept.orphans_removed, words.counted(swept.orphans_removed, 'file of no upload', 'files of no upload')],
    ].filter(([count]) => count > 0);
    const removed = found.length > 0 ? `Removed: ${found.map(([, text]) => text).join(', ')}.` : 'There was nothing to remove.';
    return `${removed} ${swept.freed_bytes > 0 ? `${words.bytes(swept.freed_bytes)} are free again.` : ''}`.trim();
  });
  $('cleanup').removeAttribute('aria-disabled');
});

$('hold').addEventListener('click', () => {
  paused = !paused;
  write($('hold'), paused ? 'Resume updates' : 'Pause updates');
  ask();
});

$('find').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = $('find-id').value.trim();
  if (id) show(id);
});

// Nobody looks at a hidden tab; who comes back sees how things are now.
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !paused && $('sign-in').hidden) ask();
});

ask();
