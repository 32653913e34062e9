/**
 * Uploads from a browser, through Highwater's sessions.
 *
 * ```js
 * import { Upload } from 'https://uploads.example/web/highwater.js';
 * const upload = new Upload(file, { endpoint: 'https://uploads.example/uploads/' });
 * upload.addEventListener('progress', () => console.log(upload.sent, 'of', upload.size));
 * upload.addEventListener('state', () => console.log(upload.state, upload.error?.advice));
 * upload.start();
 * ```
 *
 * A file is sent in chunks, four at a time, each with its SHA-256 (worked out by a worker). What fails in passing is tried
 * again, with patience; while the device is offline it waits. When round trips grow or chunks fail, fewer and smaller
 * pieces are sent; when they recover, more again. A session is kept in the browser: the same file, chosen again after a
 * reload or a restart, goes on where it was.
 * @module
 */
import { UploadError } from './errors.js';
import { hash } from './hash.js';
import { CHUNK, Ledger } from './ledger.js';
import { Live } from './live.js';
import { Patience } from './patience.js';
import { Rate, chunkSizeFor, firstPace, nextPace } from './policy.js';
import { Session } from './session.js';
import { Store } from './store.js';
import { Lanes, request } from './transport.js';
import { Unfinished, discard } from './unfinished.js';

export { CHUNK, Unfinished, UploadError };

/** A server that still looks through a file is asked again after so many milliseconds, unless it tells by itself. */
const ASKED = 2000;
/** So many times in a row a chunk may arrive damaged. */
const DAMAGED = 3;
/** Sessions that an upload of this page works on. */
const taken = new Set();

const normal = (endpoint) => {
  const url = new URL(endpoint, globalThis.document?.baseURI ?? globalThis.location?.href).href;
  return url.endsWith('/') ? url : `${url}/`;
};

/**
 * The upload of one file. `state` is one of
 * - `idle`: not begun;
 * - `starting`: its session is looked for, or made;
 * - `uploading`;
 * - `waiting`: something failed in passing (`error`), and is tried again at `retryAt`;
 * - `offline`: the same, as soon as the device is online;
 * - `paused`: by `pause()`;
 * - `finishing`: all is sent, and the server makes it final;
 * - `checking`: the server looks through it for malware before it is complete;
 * - `completed`, `cancelled`;
 * - `failed`: somebody has to do something, `error` says what; then `retry()`.
 *
 * Events: `state`; `progress`, when bytes were sent or stored; `chunk`, with `detail` `{ chunk, state, sent, size }`;
 * `restarted`, when a session that was kept is of no use any more and a new one was begun, with the reason as `detail`.
 */
export class Upload extends EventTarget {
  #options;
  #store;
  #session = null;
  #run = null;
  #patience;
  #before = 'idle';
  #pace = null;
  #flights = new Set();
  #ledger = new Ledger(0, 1);
  #damaged = new Map();
  #rate = new Rate();
  #unwatch = null;
  #news = () => {};
  #online = () => this.tryNow();
  #offline = () => this.#cut(new UploadError('offline'));

  /**
   * @param {File} file
   * @param {object} [options]
   * @param {string} [options.endpoint] of the sessions; `/uploads/` of the page's own server
   * @param {number} [options.parallel] the most chunks at a time; never more than the server takes
   * @param {number} [options.chunkSize] in bytes; else the server's own, larger for very large files
   * @param {string} [options.fileHash] the whole file's SHA-256, where it is known: the server checks it
   * @param {string|(() => ?string|Promise<?string>)} [options.authorization] the `Authorization` with which the session is
   *   made, where the server asks for one: `Bearer …`. A function is asked at every try. Nothing else is sent with it: the
   *   session has a token of its own
   * @param {Record<string, string>} [options.metadata]
   * @param {'low'|'normal'|'high'} [options.priority]
   * @param {number} [options.retries] failures in a row that are overcome
   * @param {?Storage} [options.storage] where sessions are kept; `localStorage`; `null` for nowhere
   */
  constructor(file, options = {}) {
    super();
    this.#options = { parallel: 4, retries: 8, ...options, endpoint: normal(options.endpoint ?? '/uploads/') };
    this.#store = options.storage === undefined ? Store.browser() : new Store(options.storage);
    this.#patience = new Patience(this.#options.retries, {
      waits: (error, retryAt) => {
        this.#before = this.state;
        this.retryAt = retryAt;
        this.#become(retryAt === null ? 'offline' : 'waiting', error);
      },
      goesOn: () => this.#become(this.#before),
    });
    this.file = file;
    this.name = file.name;
    this.size = file.size;
    this.state = 'idle';
    /** @type {?UploadError} of `waiting`, `offline` and `failed` */
    this.error = null;
    /** When it is tried again, in milliseconds since 1970; of `waiting` */
    this.retryAt = null;
    /** What the server last told by itself. */
    this.told = null;
  }

  /** The session's id, once there is one. */
  get id() {
    return this.#session?.kept.id ?? null;
  }

  /** The session's token; for downloads of the file, as `Authorization: Bearer`. */
  get token() {
    return this.#session?.kept.token ?? null;
  }

  /** Where the file is, once it is complete. */
  get url() {
    return this.#session?.uploadUrl ?? null;
  }

  get chunkSize() {
    return this.#session?.kept.chunkSize ?? 0;
  }

  /** The state of each chunk, see {@link CHUNK}; chunk n at n - 1. */
  get chunks() {
    return this.#ledger.chunks;
  }

  /** How far a chunk was sent, from 0 to 1. */
  chunkSent(n) {
    const { sent, size } = this.#ledger.entry(n);
    return sent / size;
  }

  /** Bytes that the server keeps. */
  get stored() {
    return this.#ledger.stored;
  }

  /** The same, and those that are on their way. */
  get sent() {
    return this.#ledger.sent;
  }

  /** Bytes a second; `null` while that cannot be told. */
  get rate() {
    return this.state === 'uploading' ? this.#rate.at(performance.now()) : null;
  }

  /** To the last byte, at that rate; `null` while that cannot be told. */
  get secondsLeft() {
    const { rate } = this;
    return rate > 0 ? (this.size - this.sent) / rate : null;
  }

  /** Pieces at a time, and bytes of a piece: as the network is. */
  get pace() {
    return { parallel: this.#pace?.parallel ?? 0, part: this.#pace?.part ?? 0 };
  }

  /** How the server tells of its own: `websocket`, `events` or `none`. */
  get live() {
    return Live.at(this.#options.endpoint).manner;
  }

  /** Begins, or goes on after `pause()` or a failure. */
  start() {
    if (this.#run || ['completed', 'cancelled'].includes(this.state)) return;
    this.#run = new AbortController();
    this.#patience.reset();
    this.#damaged.clear();
    globalThis.addEventListener('online', this.#online);
    globalThis.addEventListener('offline', this.#offline);
    this.#work(this.#run.signal);
  }

  resume() {
    this.start();
  }

  retry() {
    this.start();
  }

  /** Leaves off; what is on its way is cut, what is stored stays. */
  pause() {
    if (!this.#run) return;
    this.#stop();
    this.#become('paused');
  }

  /** Does not wait any longer for the next try. */
  tryNow() {
    this.#patience.now();
  }

  /** Ends it for good; the server forgets what was sent. Resolves when it was told so, or could not be. */
  async cancel() {
    if (['completed', 'cancelled'].includes(this.state)) return;
    const kept = this.#session?.kept;
    this.#stop();
    this.#leave();
    this.#become('cancelled');
    if (kept) await discard(this.#store, kept);
  }

  /**
   * Uploads that were begun in this browser and are not finished.
   * @param {string} [endpoint]
   * @returns {Unfinished[]} the oldest first
   */
  static unfinished(endpoint = '/uploads/', storage = undefined) {
    const store = storage === undefined ? Store.browser() : new Store(storage);
    return store.all(normal(endpoint)).map((kept) => new Unfinished(kept, store));
  }

  #become(state, error = null) {
    this.state = state;
    this.error = error;
    if (state !== 'waiting') this.retryAt = null;
    if (state !== 'uploading') this.#rate.clear();
    this.dispatchEvent(new Event('state'));
  }

  #stop() {
    globalThis.removeEventListener('online', this.#online);
    globalThis.removeEventListener('offline', this.#offline);
    const reason = new DOMException('stopped', 'AbortError');
    this.#run?.abort(reason);
    this.#run = null;
    this.#patience.now();
    this.#cut(reason);
  }

  /** Cuts every request that is on its way. */
  #cut(reason) {
    for (const flight of this.#flights) flight.abort(reason);
  }

  /** Is done with the session. */
  #leave() {
    this.#unwatch?.();
    this.#unwatch = null;
    taken.delete(this.id);
  }

  async #work(run) {
    try {
      this.#become('starting');
      const told = await this.#open(run);
      for (let round = 0; told.status !== 'completed'; round += 1) {
        this.#become('uploading');
        await this.#sendAll(run);
        this.#become('finishing');
        if (await this.#finish(run, round)) break;
      }
      this.#store.forget(this.id);
      this.#stop();
      this.#leave();
      this.#become('completed');
    } catch (error) {
      if (!run.aborted) this.#fail(error);
    }
  }

  #fail(error) {
    if (!(error instanceof UploadError)) error = new UploadError('failed-here', { detail: String(error), cause: error });
    if (error.passing) error.giveUp();
    this.#stop();
    this.#leave();
    if (error.ended && this.#session) {
      this.#store.forget(this.id);
      this.#session = null;
      this.#ledger = new Ledger(0, 1);
    }
    this.#become('failed', error);
  }

  /** A request that can be cut. */
  #send = async (method, url, options) => {
    const flight = new AbortController();
    this.#flights.add(flight);
    try {
      return await request(method, url, { ...options, signal: flight.signal });
    } finally {
      this.#flights.delete(flight);
    }
  };

  /** Finds the session of this file, or makes one; what the server told of it. */
  async #open(run) {
    const known = this.#session?.kept;
    const kept = known ?? (await this.#find());
    run.throwIfAborted();
    let opened = null;
    try {
      if (kept) opened = await this.#patience.until(run, () => Session.resume(this.#send, kept));
    } catch (error) {
      // One that was kept from an earlier visit is nobody's loss; one that was at work just now is told.
      if (known || !error.ended) throw error;
      this.#store.forget(kept.id);
      this.dispatchEvent(new CustomEvent('restarted', { detail: error }));
    }
    opened ??= await this.#make(run);
    this.#adopt(opened);
    return opened.told;
  }

  async #find() {
    for (const kept of this.#store.like(this.#options.endpoint, this.file)) {
      if (taken.has(kept.id)) continue;
      if ((await hash(this.file.slice(0, kept.chunkSize))) === kept.firstHash) return kept;
    }
    return null;
  }

  async #make(run) {
    const { endpoint, chunkSize, fileHash, metadata, priority } = this.#options;
    const { type } = this.file;
    const asked = {
      filename: this.name,
      size: this.size,
      chunk_size: chunkSize ?? chunkSizeFor(this.size),
      file_hash: fileHash,
      metadata: { ...(type ? { filetype: type } : {}), ...metadata },
      priority,
    };
    const made = await this.#patience.until(run, async () => {
      const authorization = await this.#authorization();
      run.throwIfAborted();
      return Session.initialize(this.#send, endpoint, asked, this.file, authorization);
    });
    const { kept } = made.session;
    kept.firstHash = await hash(this.file.slice(0, kept.chunkSize));
    run.throwIfAborted();
    this.#store.keep(kept);
    return made;
  }

  async #authorization() {
    const { authorization } = this.#options;
    return typeof authorization === 'function' ? authorization() : authorization;
  }

  /** Works on this session from now on: what is there of it is not sent. */
  #adopt({ session, told }) {
    const { kept } = session;
    this.#session = session;
    taken.add(kept.id);
    this.#ledger = Ledger.of(this.size, told);
    const most = Math.max(1, Math.min(this.#options.parallel, told.max_parallel_chunks ?? 4));
    if (this.#pace?.whole !== kept.chunkSize || this.#pace.most !== most) this.#pace = firstPace(kept.chunkSize, most);
    this.#unwatch ??= Live.at(kept.endpoint).watch(kept.id, kept.token, (event) => this.#hear(event));
    this.dispatchEvent(new Event('progress'));
  }

  /** What the server tells by itself: of chunks that another window sends, and of ends that this one did not bring. */
  #hear(event) {
    this.told = event;
    if (event.event === 'chunk_uploaded' && event.chunk) this.#count(event.chunk);
    if (event.event === 'scan_started' && this.state === 'finishing') this.#become('checking');
    if (event.event === 'upload_completed') this.#news();
    if (this.#run || this.state === 'paused') {
      if (event.status === 'cancelled') this.#fail(new UploadError('cancelled', { status: 410 }));
      else if (event.status === 'expired') this.#fail(new UploadError('expired', { status: 410 }));
      else if (event.event === 'upload_failed') this.#fail(new UploadError(event.code ?? 'disk-fault', { status: 410 }));
    }
  }

  async #sendAll(run) {
    const queue = this.#ledger.missing();
    const running = new Set();
    while (queue.length > 0 || running.size > 0) {
      while (queue.length > 0 && running.size < this.#pace.parallel) {
        const sending = this.#sendChunk(run, queue.shift()).finally(() => running.delete(sending));
        sending.catch(() => {}); // the first to fail is told by the race
        running.add(sending);
      }
      await Promise.race(running);
    }
  }

  async #sendChunk(run, n) {
    await this.#patience.until(run, async () => {
      while (!this.#ledger.has(n)) {
        try {
          await this.#sendSome(run, n);
        } catch (error) {
          if (!run.aborted) this.#failed(n, error);
          throw error;
        }
      }
    });
  }

  /** Sends a chunk whole, or a part of one that is begun or too large for the network. */
  async #sendSome(run, n) {
    const { part } = this.#pace;
    const start = (n - 1) * this.chunkSize;
    const size = this.#ledger.sizeOf(n);
    const offset = this.#ledger.offsetOf(n);
    const whole = offset === 0 && part >= size;
    const end = whole ? size : Math.min(size, offset + part);
    const body = this.file.slice(start + offset, start + end);
    this.#ledger.fly(n, 0);
    this.#show(n);
    const sum = await hash(body);
    run.throwIfAborted();
    const onSent = (bytes) => this.#sent(n, bytes);
    const send = (method, url, options) => Lanes.to(url).run(() => this.#timed(body.size, method, url, options), run);
    if (whole) {
      await this.#session.chunk(send, n, body, sum, onSent);
      return this.#count(n);
    }
    const now = await this.#session.part(send, n, offset, body, sum, onSent);
    if (now >= size) return this.#count(n);
    this.#ledger.begun(n, now);
    this.#sent(n, 0);
  }

  async #timed(bytes, method, url, options) {
    const began = performance.now();
    const told = (ok) => (this.#pace = nextPace(this.#pace, { ok, bytes, began, ended: performance.now() }));
    try {
      const answer = await this.#send(method, url, options);
      told(true);
      return answer;
    } catch (error) {
      if (error instanceof UploadError && error.passing) told(false);
      throw error;
    }
  }

  #failed(n, error) {
    this.#ledger.fail(n);
    this.#show(n);
    if (!(error instanceof UploadError)) return;
    if (error.code === 'offset-mismatch' && error.offset !== null) this.#ledger.begun(n, error.offset);
    if (error.code !== 'checksum-mismatch') return;
    this.#damaged.set(n, (this.#damaged.get(n) ?? 0) + 1);
    if (this.#damaged.get(n) >= DAMAGED) error.giveUp();
  }

  #show(n) {
    this.dispatchEvent(new CustomEvent('chunk', { detail: this.#ledger.entry(n) }));
  }

  #sent(n, bytes) {
    if (!this.#ledger.fly(n, bytes)) return;
    this.#show(n);
    this.#progress();
  }

  /** A chunk is stored. */
  #count(n) {
    this.#damaged.delete(n);
    if (!this.#ledger.store(n)) return;
    this.#show(n);
    this.#progress();
  }

  #progress() {
    this.#rate.add(this.sent, performance.now());
    this.dispatchEvent(new Event('progress'));
  }

  /** Whether the server has made it final; else it has told which chunks it misses. */
  async #finish(run, round) {
    try {
      const finalize = () =>
        this.#session.finalize(this.#send).catch((error) => {
          if (error.code === 'chunks-missing' && round < DAMAGED) error.passing = false;
          throw error;
        });
      while ((await this.#patience.until(run, finalize)).status === 'scanning') {
        if (this.state !== 'checking') this.#become('checking');
        await new Promise((resolve) => setTimeout((this.#news = resolve), ASKED));
      }
      return true;
    } catch (error) {
      if (error.code !== 'chunks-missing' || round >= DAMAGED) throw error;
      this.#adopt(await this.#patience.until(run, () => Session.resume(this.#send, this.#session.kept)));
      return false;
    }
  }
}
