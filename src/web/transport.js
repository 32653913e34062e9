/**
 * Requests, with failures as {@link UploadError}s.
 * @module
 */
import { UploadError, refused, unanswered } from './errors.js';
import { retryAfter } from './policy.js';

/** A connection on which nothing moved for so long is given up. */
const STALLED = 60_000;

/**
 * One request. `XMLHttpRequest`, since `fetch` tells nothing of how far a body was sent.
 * @param {string} method
 * @param {string|URL} url
 * @param {{ headers?: Record<string, string>, body?: Blob|string, signal?: AbortSignal, onSent?: (bytes: number) => void }} options
 * @returns {Promise<{ status: number, text: string, json: any, offset: ?number }>} of an answer that is no failure
 */
export function request(method, url, { headers = {}, body, signal, onSent } = {}) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const xhr = new XMLHttpRequest();
    let watchdog;
    const stall = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => end(reject, unanswered('timeout')), STALLED);
    };
    const abort = () => end(reject, signal.reason);
    const end = (settle, outcome) => {
      clearTimeout(watchdog);
      signal?.removeEventListener('abort', abort);
      settle(outcome);
      if (xhr.readyState !== XMLHttpRequest.DONE) xhr.abort();
    };
    xhr.open(method, url);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.upload.onprogress = ({ loaded }) => {
      stall();
      onSent?.(loaded);
    };
    xhr.onerror = () => end(reject, unanswered('network'));
    xhr.onload = () => {
      try {
        end(resolve, answer(xhr));
      } catch (error) {
        end(reject, error);
      }
    };
    signal?.addEventListener('abort', abort);
    stall();
    xhr.send(body);
  });
}

function answer(xhr) {
  const { status, responseText: text } = xhr;
  const header = (name) => xhr.getResponseHeader(name);
  const offset = header('Upload-Offset') === null ? null : Number(header('Upload-Offset'));
  if (status < 200 || status > 299) {
    throw refused(status, text, { wait: retryAfter(header('Retry-After')), offset });
  }
  let json = null;
  if (/^application\/json\b/.test(header('Content-Type') ?? '')) json = JSON.parse(text);
  return { status, text, json, offset };
}

/** The JSON object of an answer that must be one: a proxy's page with status 200 is none. */
export function expectJson({ status, json }) {
  if (json === null || typeof json !== 'object') throw new UploadError('unexpected', { status, detail: 'no JSON' });
  return json;
}

/** Places for requests with bodies, shared by all uploads to one server: a browser opens six connections to it, and one
 * is left for what is asked beside. What waits here, and not in the browser, is not taken for a slow network. */
export class Lanes {
  #free;
  #waiting = [];
  static #of = new Map();

  constructor(places) {
    this.#free = places;
  }

  static to(url) {
    const { origin } = new URL(url);
    if (!Lanes.#of.has(origin)) Lanes.#of.set(origin, new Lanes(5));
    return Lanes.#of.get(origin);
  }

  /** Runs `work` once there is a place, in the order in which it was asked for. */
  async run(work, signal) {
    if (this.#free === 0) {
      await new Promise((resolve) => this.#waiting.push(resolve));
    } else this.#free -= 1;
    try {
      signal?.throwIfAborted();
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
