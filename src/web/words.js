/**
 * Numbers and states in words.
 * @module
 */

const number = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const down = new Intl.NumberFormat('en', { maximumFractionDigits: 2, roundingMode: 'floor' });
const UNITS = ['bytes', 'kB', 'MB', 'GB', 'TB'];

/** @param {number} count */
export function bytes(count, form = number) {
  let unit = 0;
  while (count >= 999.95 && unit < UNITS.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${count} ${count === 1 ? 'byte' : 'bytes'}` : `${form.format(count)} ${UNITS[unit]}`;
}

/** A limit: never more than it is. */
export const atMost = (count) => bytes(count, down);

export function duration(seconds) {
  if (seconds < 60) return `${Math.max(1, Math.round(seconds))} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.round(hours / 24)} days`;
}

export const percent = (part, whole) => (whole === 0 ? 100 : Math.floor((part / whole) * 100));

/** By the state of an upload; `queued`, `asked` and `unfinished` are the page's own. */
export const STATES = {
  queued: 'Waiting for its turn',
  asked: 'Waiting for your token',
  unfinished: 'Unfinished',
  idle: '',
  starting: 'Starting',
  uploading: 'Uploading',
  waiting: 'Trying again',
  offline: 'Offline',
  paused: 'Paused',
  finishing: 'Finishing',
  checking: 'Being checked for malware',
  completed: 'Done',
  failed: 'Failed',
  cancelled: 'Cancelled',
};
