// What the server tells of uploads: GET /progress as a WebSocket, and where that does not get through, as Server-Sent Events.
// Every message is described in src/progress/EVENTS.md.

const LONGEST_DELAY = 30_000;
/** A proxy that swallows the handshake answers nothing at all. */
const HANDSHAKE = 5_000;
/** The most uploads of one event stream. */
const STREAM = 100;
/** Nothing more happens to such an upload. */
const ENDED = ['completed', 'failed', 'cancelled', 'expired'];

export class ServerProgress {
  /** What is followed: upload id → the sequence number of the last message, which the server goes on after. */
  #uploads = new Map();
  /** What is open, or about to be: a WebSocket or an EventSource. */
  #source;
  #timer;
  #failures = 0;

  /**
   * `onMessage` gets every message about an upload, `onConnection` how they come: 'websocket', 'events', or 'lost' while they
   * do not.
   */
  constructor(server, { onMessage, onConnection = () => {} }) {
    this.server = server;
    this.onMessage = onMessage;
    this.onConnection = onConnection;
    // A connection over a network that is gone can look open for minutes.
    window.addEventListener('online', () => this.#connect());
  }

  follow(id) {
    if (this.#uploads.has(id)) return;
    this.#uploads.set(id, undefined);
    if (this.#source instanceof WebSocket) this.#subscribe(id);
    else if (this.#source || !this.#timer) this.#connect(this.#source && 'events');
  }

  unfollow(id) {
    if (this.#uploads.delete(id)) this.#send({ unsubscribe: [id] });
  }

  /** Opens a connection in place of the one that there is. */
  #connect(kind = 'websocket') {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const old = this.#source;
    this.#source = undefined;
    old?.close();
    if (this.#uploads.size === 0) return;
    if (kind === 'websocket') this.#openWebSocket();
    else this.#openEvents();
  }

  #openWebSocket() {
    const socket = new WebSocket(`${this.server.replace(/^http/, 'ws')}/progress`);
    this.#source = socket;
    const late = setTimeout(() => socket.close(), HANDSHAKE);
    // Some proxies take the handshake and let nothing through after it: the first message is the proof.
    let opened = false;
    socket.onopen = () => {
      clearTimeout(late);
      for (const id of this.#uploads.keys()) this.#subscribe(id);
    };
    socket.onmessage = ({ data }) => {
      if (!opened) this.#open('websocket');
      opened = true;
      this.#told(JSON.parse(data));
    };
    socket.onclose = () => {
      clearTimeout(late);
      if (this.#source === socket) this.#lost(opened ? 'websocket' : 'events');
    };
  }

  /** A stream says in its address what it follows: a further upload needs a new one. */
  #openEvents() {
    const query = [...this.#uploads.keys()].slice(-STREAM).map((id) => `upload=${encodeURIComponent(id)}`);
    const events = new EventSource(`${this.server}/progress/events?${query.join('&')}`);
    this.#source = events;
    let opened = false;
    events.onopen = () => {
      opened = true;
      this.#open('events');
    };
    events.onmessage = ({ data }) => this.#told(JSON.parse(data));
    events.onerror = () => {
      // A stream that was open is opened again by the browser, which says what it had last (Last-Event-ID).
      if (opened && events.readyState === EventSource.CONNECTING) this.onConnection('lost');
      else if (this.#source === events) this.#lost('websocket');
    };
  }

  #open(kind) {
    this.#failures = 0;
    this.onConnection(kind);
  }

  /** Tries again after a while, each time a longer one, and not at the same moment as everybody else. */
  #lost(next) {
    this.#source.close();
    this.#source = undefined;
    if (this.#uploads.size === 0) return;
    this.onConnection('lost');
    const delay = Math.min(LONGEST_DELAY, 250 * 2 ** this.#failures++);
    this.#timer = setTimeout(() => this.#connect(next), delay * (0.5 + Math.random() / 2));
  }

  #subscribe(id) {
    const since = this.#uploads.get(id);
    this.#send({ subscribe: [id], ...(since !== undefined && { since: { [id]: since } }) });
  }

  #send(message) {
    const open = this.#source instanceof WebSocket && this.#source.readyState === WebSocket.OPEN;
    if (open) this.#source.send(JSON.stringify(message));
  }

  #told(message) {
    const id = message.upload_id;
    if (!this.#uploads.has(id)) return;
    this.#uploads.set(id, message.sequence);
    this.onMessage(message);
    if (message.event === 'error' || ENDED.includes(message.status)) this.unfollow(id);
  }
}
