// One upload: all that is known of it, and the question before it is cancelled.
import { api } from './admin-api.js';
import { element, named, write } from './admin-table.js';
import * as words from './admin-words.js';

const $ = (id) => document.getElementById(id);
/** What an id may be; anything else would be another path than it says. */
const ID = /^(?!\.{1,2}(\/|$))[\w.-]{1,128}(\/(?!\.{1,2}(\/|$))[\w.-]{1,128})*$/;
const MOST_PARTS = 20;
/** Takes the answer to the question that was asked last. */
let answer = () => {};

/** `Upload-Metadata` as pairs of text. */
function metadata(raw) {
  const decoded = (base64) => new TextDecoder().decode(Uint8Array.from(atob(base64), (c) => c.charCodeAt(0)));
  const pairs = (raw ?? '').split(',').map((pair) => pair.trim()).filter(Boolean);
  return pairs.map((pair) => {
    const [key, value = ''] = pair.split(' ');
    return [key, decoded(value)];
  });
}

function facts(upload) {
  const length = upload.length === null ? 'a length not known yet' : `${words.bytes(upload.length)} (${words.number(upload.length)} bytes)`;
  const parts = upload.parts.slice(0, MOST_PARTS).join('\n');
  const more = upload.parts.length > MOST_PARTS ? `\nand ${words.number(upload.parts.length - MOST_PARTS)} more` : '';
  return [
    ['Id', upload.id],
    ['Kind', words.kind(upload)],
    ['Status', upload.failure ? `${upload.status}: ${words.failed(upload.failure)} (${upload.failure})` : upload.status],
    ['Received', `${words.number(upload.offset)} bytes of ${length}`],
    ['Begun', words.date(upload.created_at)],
    ['Last bytes', words.date(upload.touched_at)],
    ['Expires', upload.expires_at ? words.date(upload.expires_at) : 'never'],
    ['Silent for', upload.silent_seconds === null ? null : words.duration(upload.silent_seconds)],
    ['On the disk', words.bytes(upload.allocated_bytes)],
    ['Path', upload.path],
    ['Parts', parts ? parts + more : null],
    ...metadata(upload.metadata).map(([key, value]) => [`Metadata: ${key}`, value]),
  ].filter(([, value]) => value !== null);
}

async function show(id) {
  const dialog = $('details');
  write($('details-title'), id);
  write($('details-error'), '');
  $('details-list').replaceChildren();
  dialog.showModal();
  try {
    if (!ID.test(id)) throw new Error('This is not an id: ids are of letters, digits, “.”, “_”, “-” and “/”.');
    const upload = await api.upload(id);
    if (upload.id !== id) throw new Error('There is no such upload.');
    write($('details-title'), named(upload));
    const rows = facts(upload).flatMap(([name, value]) => [element('dt', { text: name }), element('dd', { text: value })]);
    $('details-list').replaceChildren(...rows);
  } catch (trouble) {
    write($('details-error'), trouble.message);
  }
}

/** Asks whether to cancel an upload; every way out of the question but one button is a no. */
function confirm(upload) {
  const dialog = $('confirm');
  write($('confirm-name'), upload.filename ?? '');
  write($('confirm-id'), upload.id);
  // The end of an earlier question is told a moment later, perhaps when this one is asked already: it is no answer to this one.
  answer(false);
  dialog.returnValue = 'no';
  dialog.showModal();
  return new Promise((resolve) => {
    answer = resolve;
  });
}

/** The dialogs, with their buttons wired. */
export function dialogs() {
  $('details-close').addEventListener('click', () => $('details').close());
  $('confirm-no').addEventListener('click', () => $('confirm').close('no'));
  $('confirm-yes').addEventListener('click', () => $('confirm').close('yes'));
  $('confirm').addEventListener('close', ({ target: dialog }) => {
    if (!dialog.open) answer(dialog.returnValue === 'yes');
  });
  return { show, confirm };
}
