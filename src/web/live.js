/**
 * What the server tells while it happens: one WebSocket for all uploads of a page, or Server-Sent Events where a proxy
 * breaks WebSockets. The wire is described in the server's `EVENTS.md`.
 * @module
 */
import { backoff } from './policy.js';

/** @typedef {{ token: string, since: ?number, tell: (event: object) => void }} Watched */

/** Follows sessions at one server. */
export class Live {
  #url;
  /** @type {Map<string, Watched>} */
  #watched = new Map();
  #open = null;
  #events = false;
  #failures = 0;
  #timer;
  static #of = new Map();

  /** @param {string|URL} endpoint of the sessions: progress is told beside it */
  static at(endpoint) {
    const url = new URL('../progress', endpoint).href;
    if (!Live.#of.has(url)) Live.#of.set(url, new Live(url));
    return Live.#of.get(url);
  }

  constructor(url) {
    this.#url = url;
    globalThis.addEventListener?.('online', () => this.#timer && this.#connect());
  }

  /** How it is told at the moment: `websocket`, `events`, or `none`. */
  get manner() {
    if (!this.#open?.told) return 'none';
    return this.#events ? 'events' : 'websocket';
  }

  /**
   * Follows a session until the function that is returned is called.
   * @param {string} id
   * @param {string} token
   * @param {(event: object) => void} tell
   */
  watch(id, token, tell) {
    const watched = { token, tell, since: null };
    this.#watched.set(id, watched);
    if (!this.#open) {
      if (!this.#timer) this.#connect();
    } else if (this.#events) this.#connect();
    else if (this.#open.ready) this.#subscribe(id, watched);
    return () => this.#leave(id, watched);
  }

  #leave(id, watched) {
    if (this.#watched.get(id) !== watched) return;
    this.#watched.delete(id);
    if (this.#watched.size === 0) this.#close();
    else if (!this.#events && this.#open?.ready) this.#open.socket.send(JSON.stringify({ unsubscribe: [id] }));
  }

  #close() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const { socket } = this.#open ?? {};
    this.#open = null;
    socket?.close();
  }

  #connect() {
    this.#close();
    if (this.#watched.size === 0) return;
    const socket = this.#events ? this.#source() : new WebSocket(this.#url.replace(/^http/, 'ws'));
    const open = { socket, ready: false, told: false };
    this.#open = open;
    socket.onopen = () => {
      open.ready = true;
      if (!this.#events) for (const [id, watched] of this.#watched) this.#subscribe(id, watched);
    };
    socket.onmessage = ({ data }) => {
      open.told = true;
      this.#failures = 0;
      this.#tell(data);
    };
    // A source of events would come back by itself, but only ever by the same way.
    const lost = () => this.#open === open && this.#lost(open.told);
    socket.onclose = lost;
    socket.onerror = this.#events ? lost : null;
  }

  #source() {
    const url = new URL(`${this.#url}/events`);
    for (const [id, { token }] of this.#watched) {
      url.searchParams.append('upload', id);
      if (!url.searchParams.getAll('token').includes(token)) url.searchParams.append('token', token);
    }
    return new EventSource(url);
  }

  #lost(toldSomething) {
    this.#close();
    // What never opens, or opens and is mute, may be forbidden on the way: the other manner is next.
    if (!toldSomething) this.#events = !this.#events;
    this.#failures += 1;
    this.#timer = setTimeout(() => this.#connect(), backoff(this.#failures));
  }

  #subscribe(id, { token, since }) {
    const message = { subscribe: [id], token };
    if (since !== null) message.since = { [id]: since };
    this.#open.socket.send(JSON.stringify(message));
  }

  #tell(data) {
    const event = JSON.parse(data);
    const watched = this.#watched.get(event.upload_id);
    if (!watched) return;
    if (typeof event.sequence === 'number') watched.since = event.sequence;
    watched.tell(event);
  }
}
