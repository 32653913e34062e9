/**
 * How patiently and how broadly an upload is sent: pure functions, no clock and no network.
 * @module
 */

/** The smallest part of a chunk that is sent by itself. */
export const LEAST_PART = 64 * 1024;
/** A request that takes longer than this costs too much when it is cut. */
const LONG = 15_000;
/** A request that takes less is no sign of trouble, however fast others were. */
const SHORT = 1_000;
/** So many times slower than the best is slow. */
const SLOW = 4;

/**
 * Milliseconds before a further try: they double with each, and half of them is thrown, so that clients that failed
 * together do not come back together.
 * @param {number} attempt from 1
 */
export function backoff(attempt, { base = 1000, cap = 30_000, random = Math.random } = {}) {
  const most = Math.min(cap, base * 2 ** Math.min(attempt - 1, 30));
  return most / 2 + (random() * most) / 2;
}

/**
 * `Retry-After` in milliseconds: seconds, or a date; 0 for what is neither. At most ten minutes.
 * @param {?string} value
 */
export function retryAfter(value, now = Date.now()) {
  if (!value) return 0;
  const wait = /^\s*\d+\s*$/.test(value) ? Number(value) * 1000 : Date.parse(value) - now;
  return Math.min(Math.max(wait || 0, 0), 600_000);
}

/**
 * How many requests at a time, of how many bytes. A chunk of `whole` bytes is sent in parts where `part` is less.
 * @typedef {{ parallel: number, most: number, part: number, whole: number, best: ?number, good: number, since: number }} Pace
 * @returns {Pace}
 */
export function firstPace(whole, most) {
  return { parallel: most, most, part: whole, whole, best: null, good: 0, since: 0 };
}

/**
 * The pace after a request: fewer and smaller ones once round trips grow or chunks fail; larger ones, and then more, once
 * they recover. Of requests that were on their way together when one went wrong, only the first counts.
 * @param {Pace} pace
 * @param {{ ok: boolean, bytes: number, began: number, ended: number }} request in milliseconds, of any clock
 * @returns {Pace}
 */
export function nextPace(pace, { ok, bytes, began, ended }) {
  if (!ok) {
    if (began < pace.since) return pace;
    return { ...smaller(pace, Math.max(1, pace.parallel >> 1)), since: ended };
  }
  const took = Math.max(ended - began, 1);
  const each = took / Math.max(bytes, 1);
  // The best is forgotten slowly, so that a network that became slower for good is met anew.
  const best = pace.best === null ? each : Math.min(each, pace.best * 1.05);
  const slow = took > LONG || (took > SHORT && each > SLOW * best);
  if (slow) {
    if (began < pace.since) return { ...pace, best };
    return { ...smaller(pace, Math.max(1, pace.parallel - 1)), best, since: ended };
  }
  const good = pace.good + 1;
  if (good < 2 * pace.parallel) return { ...pace, best, good };
  if (pace.part < pace.whole) return { ...pace, best, good: 0, part: Math.min(pace.whole, pace.part * 2) };
  return { ...pace, best, good: 0, parallel: Math.min(pace.most, pace.parallel + 1) };
}

function smaller(pace, parallel) {
  const part = Math.min(pace.whole, Math.max(LEAST_PART, Math.floor(pace.part / 2)));
  return { ...pace, parallel, part, good: 0 };
}

/** The most chunks that are asked for, well below what a session may have. */
const MANY = 10_000;
const LARGEST = 64 * 1024 * 1024;

/**
 * The chunk size to ask for, or `undefined` where the server's own will do.
 * @param {number} size of the file
 */
export function chunkSizeFor(size) {
  let chunk = 1024 * 1024;
  if (size <= MANY * chunk) return undefined;
  while (size > MANY * chunk && chunk < LARGEST) chunk *= 2;
  return chunk;
}

/** Bytes a second over the last seconds, from totals as they grow. */
export class Rate {
  #window;
  #told = [];

  constructor(window = 6000) {
    this.#window = window;
  }

  add(total, now) {
    const last = this.#told.at(-1);
    // After a step back (bytes that must be sent anew) it begins anew.
    if (last && total < last.total) this.#told = [];
    this.#told.push({ total, now });
    while (this.#told.length > 2 && this.#told[1].now < now - this.#window) this.#told.shift();
  }

  clear() {
    this.#told = [];
  }

  /** @returns {?number} `null` before it can be told */
  at(now) {
    const first = this.#told[0];
    const last = this.#told.at(-1);
    if (!first || now - first.now < 250) return null;
    return ((last.total - first.total) * 1000) / (now - first.now);
  }
}
