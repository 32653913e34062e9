// Numbers, times and failures in words a person understands.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

/** A number and what it counts, or a time and its unit, stay on one line. */
const together = (text) => text.replaceAll(' ', '\u00a0');

/** Bytes, with three digits that say something: `4.25 MiB`. */
export function bytes(count) {
  if (count === null || count === undefined) return '–';
  let [value, unit] = [count, 0];
  while (value >= (unit === 0 ? 1024 : 999.5) && unit < UNITS.length - 1) [value, unit] = [value / 1024, unit + 1];
  const digits = unit === 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return together(`${Number(value.toFixed(digits))} ${UNITS[unit]}`);
}

export const speed = (rate) => `${bytes(Math.round(rate))}/s`;

export const number = (count) => new Intl.NumberFormat('en').format(count);

/** `1 upload`, `2 uploads`. */
export const counted = (count, one, many = `${one}s`) => together(`${number(count)} ${count === 1 ? one : many}`);

/** Parts of a whole; only the whole itself is 100 %. */
export function percent(part, whole) {
  if (whole <= 0) return '100 %';
  const share = (100 * part) / whole;
  if (part >= whole) return '100 %';
  return share > 99 ? `${(Math.floor(share * 10) / 10).toFixed(1)} %` : `${Math.floor(share)} %`;
}

/** A length of time, in its two largest units. */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return `${whole} s`;
  const [minutes, hours, days] = [Math.floor(whole / 60), Math.floor(whole / 3600), Math.floor(whole / 86400)];
  if (hours < 1) return minutes < 10 ? `${minutes} min ${whole % 60} s` : `${minutes} min`;
  if (days < 1) return `${hours} h ${minutes % 60} min`;
  return days < 100 ? `${days} d ${hours % 24} h` : `${number(days)} d`;
}

/** A length of time, in its largest unit alone. */
export function roughly(seconds) {
  const [size, unit] = [[86400, 'd'], [3600, 'h'], [60, 'min']].find(([least]) => seconds >= least) ?? [1, 's'];
  return together(`${number(Math.max(0, Math.floor(seconds / size)))} ${unit}`);
}

/** A time that was measured, from microseconds up. */
export function measured(seconds) {
  if (seconds === null || seconds === undefined) return '–';
  if (seconds >= 60) return duration(seconds);
  if (seconds >= 0.9995) return `${Number(seconds.toPrecision(3))} s`;
  return `${Number((seconds * 1000).toPrecision(3))} ms`;
}

const CLOCK = new Intl.DateTimeFormat('en', { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const DATE = new Intl.DateTimeFormat('en', { dateStyle: 'medium', timeStyle: 'medium', hourCycle: 'h23' });
export const clock = (time) => CLOCK.format(time);
export const date = (text) => (text ? DATE.format(new Date(text)) : '–');

export const KINDS = { plain: 'file', partial: 'part', final: 'joined' };
/** What an upload may be, in the order of its life. */
export const STATUSES = ['active', 'scanning', 'assembling', 'completed', 'failed', 'cancelled', 'expired'];
/** What an upload is: the server calls a session a final upload. */
export const kind = (upload) => (upload.session ? 'session' : (KINDS[upload.kind] ?? upload.kind));

/** Why an upload failed. */
const FAILED = {
  'file-hash-mismatch': 'The file is not what its hash said',
  'blob-lost': 'Its bytes are not on the disk any more',
  'disk-fault': 'The disk lost bytes of it',
  'part-gone': 'One of its parts is gone',
  'parts-too-large': 'Its parts are larger together than an upload may be',
  'parts-too-small': 'Its parts are smaller together than an upload must be',
  'type-mismatch': 'Its bytes are not what was declared',
  'malware-found': 'Malware was found in it',
  unscanned: 'It could not be looked through for malware',
};
export const failed = (code) => FAILED[code] ?? code;

/** Why a request was refused, for the codes that come often; the others tell themselves. */
const REFUSED = {
  'not-found': 'No such upload',
  'no-such-resource': 'An address where there is nothing',
  disabled: 'Switched off on this server',
  'foreign-origin': 'From a page of another origin',
  'offset-mismatch': 'Sent from another offset than the upload is at',
  'taken-over': 'Another request took over',
  locked: 'Another request was writing',
  'too-large': 'Larger than an upload may be',
  'too-small': 'Smaller than an upload must be',
  'disk-low': 'Refused since the disk is nearly full',
  'out-of-space': 'The disk was full',
  unauthorized: 'Token missing or wrong',
  'token-required': 'Session token missing',
  'checksum-mismatch': 'Bytes did not match their checksum',
  'body-cut': 'The connection broke in the middle of a body',
  'idle-body': 'A body was silent for too long',
  'bad-header': 'A header that cannot be understood',
  'bad-query': 'A query that cannot be understood',
  'bad-json': 'JSON that cannot be understood',
  'unsupported-version': 'Another version of the tus protocol',
  'method-not-allowed': 'A method that is not for this address',
  'hash-required': 'A chunk without its hash',
  'chunk-differs': 'A chunk sent again with other content',
  'chunks-missing': 'Finalized before all chunks were there',
  'already-complete': 'The upload was complete already',
  'chunk-of-session': 'A chunk to be cancelled without its session',
  'not-finished': 'The upload was not complete yet',
  'scan-pending': 'The upload was still being looked through',
  'bad-name': 'A file name that is not taken',
  'upgrade-required': 'A WebSocket was expected',
  expired: 'The upload had expired',
  storage: 'The disk failed',
  state: 'The database failed',
  'shutting-down': 'The server was shutting down',
};
export const refused = (code) => REFUSED[code] ?? FAILED[code] ?? code;

/** What an answer of the admin API means for the person who asked. */
const ANSWERS = {
  'not-found': 'There is no such upload. It may have ended a while ago.',
  'already-complete': 'This upload is complete, so it was left alone.',
  'chunk-of-session': 'This is a chunk: cancel its session.',
  expired: 'This upload has expired already.',
  'foreign-origin': 'The server takes changes from its own pages only. Is its --public-url what this page was opened with?',
  'bad-query': 'The server does not understand this selection. Load the page again: it may be of another version.',
  'shutting-down': 'The server is shutting down.',
  state: 'The server cannot read its database. Its log says more.',
  storage: 'The server cannot read its disk. Its log says more.',
};

/** Of a failure as `application/problem+json`, or of what came instead. */
export function explained(status, problem) {
  const known = ANSWERS[problem?.code] ?? problem?.detail;
  if (known) return known;
  if (status >= 502 && status <= 504) return 'Whatever stands before the server cannot reach it.';
  return `The server answered with status ${status}.`;
}
