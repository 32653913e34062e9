// A wire between a client and the server. It passes every byte on unchanged and keeps a diary of the requests and their
// answers; and it can hold request bodies at a byte and cut what is held, so that a test says exactly how far an upload
// had come when its connection broke.
import { createServer, connect } from 'node:net';
import { once } from 'node:events';
import { serverTest } from './support.mjs';

/** One direction of a connection: cuts what comes into pieces, and tells each message's head and end. */
class Messages {
  #state = 'head';
  #text = Buffer.alloc(0);
  #left = 0;

  /** `begin(line, headers)` is told each head, and says whether a body may follow. */
  constructor(begin) {
    this.begin = begin;
  }

  /** The pieces of what was read, in order: a body's `payload`, or what frames it. */
  *pieces(read) {
    while (read.length > 0) {
      const payload = this.#state === 'data';
      const taken = payload ? this.#payload(read.length) : this.#line(read);
      yield { bytes: read.subarray(0, taken), payload };
      read = read.subarray(taken);
    }
  }

  #payload(available) {
    const size = Math.min(this.#left, available);
    this.#left -= size;
    if (this.#left === 0) this.#state = this.chunked ? 'gap' : 'head';
    return size;
  }

  /** Takes up to the end of a line (of a head: up to its end), and goes on once that was found. */
  #line(read) {
    const mark = this.#state === 'head' ? '\r\n\r\n' : '\r\n';
    const before = this.#text.length;
    this.#text = Buffer.concat([this.#text, read]);
    const at = this.#text.indexOf(mark);
    if (at < 0) return read.length;
    const line = this.#text.toString('latin1', 0, at);
    this.#text = Buffer.alloc(0);
    this.#ended(line);
    return at + mark.length - before;
  }

  #ended(line) {
    if (this.#state === 'head') this.#head(line);
    else if (this.#state === 'gap') this.#state = 'size';
    else if (this.#state === 'trailer') this.#state = line === '' ? 'head' : 'trailer';
    else {
      this.#left = parseInt(line, 16);
      this.#state = this.#left === 0 ? 'trailer' : 'data';
    }
  }

  #head(text) {
    const [first, ...lines] = text.split('\r\n');
    const field = (line, colon) => [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
    const headers = new Map(lines.map((line) => field(line, line.indexOf(':'))));
    if (!this.begin(first, headers)) return;
    this.chunked = headers.get('transfer-encoding') === 'chunked';
    this.#left = Number(headers.get('content-length') ?? 0);
    if (this.chunked) this.#state = 'size';
    else if (this.#left > 0) this.#state = 'data';
  }
}

export class Wire {
  /** In the order sent: `method`, `path`, `sent(name)`, `body` bytes; once answered, `status`, `continued`, `answer(name)`. */
  requests = [];
  #allowance = Infinity;
  #links = new Set();
  #exhausted = () => {};
  #ready;
  /** How fast a connection's requests pass, in bytes a second: for a test that must meet an upload while it runs. */
  pace = Infinity;
  /** Requests for such a path end with their connection, as behind a proxy that does not know what they are. */
  breaks = /^$/;

  constructor(server) {
    this.server = server;
    this.listener = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#join(client));
  }

  async start() {
    this.listener.listen(0, '127.0.0.1');
    await once(this.listener, 'listening');
    return this;
  }

  /** What the client is told: the server names the host and port that it was asked by, so every request comes this way. */
  get endpoint() {
    return `http://127.0.0.1:${this.listener.address().port}/files/`;
  }

  /** The methods in the order in which they were sent: a shape to compare. */
  get shape() {
    return this.requests.map((r) => r.method).join(' ');
  }

  sentOf(method) {
    return this.requests.filter((r) => r.method === method);
  }

  /** Where each request began that carried bytes of an upload. */
  get offsets() {
    return this.requests.filter((r) => r.sent('Upload-Offset')).map((r) => Number(r.sent('Upload-Offset')));
  }

  /** Lets so many more bytes of request bodies pass, and resolves when they have and there would be more. */
  hold(bytes) {
    this.#allowance = bytes;
    return new Promise((resolve) => (this.#exhausted = resolve));
  }

  /** Breaks every connection; what was held is lost. From now on everything passes again, once `ready` has settled. */
  cut(ready) {
    this.#ready = ready;
    this.#allowance = Infinity;
    for (const { client, server } of this.#links) {
      client.destroy();
      server?.destroy();
    }
  }

  /** Ends the wire and everything on it. */
  async close() {
    this.cut();
    this.listener.close();
    await once(this.listener, 'close');
  }

  async #join(client) {
    const link = { client };
    this.#links.add(link);
    client.on('error', () => {}); // 'close' follows
    client.on('close', () => this.#links.delete(link));
    await this.#ready;
    if (client.destroyed) return;
    const server = connect({ host: '127.0.0.1', port: this.server.port, noDelay: true, allowHalfOpen: true });
    link.server = server;
    const waiting = []; // requests of this connection without their final answer
    const requests = this.#requests(link, waiting);
    const answers = this.#answers(waiting);
    client.on('data', (read) => {
      this.#pass(link, requests.pieces(read));
      if (this.pace === Infinity) return;
      client.pause();
      setTimeout(() => link.held || client.resume(), (read.length / this.pace) * 1000);
    });
    server.on('data', (read) => {
      for (const _ of answers.pieces(read));
      if (!client.write(read)) {
        server.pause();
        client.once('drain', () => server.resume());
      }
    });
    for (const [one, other] of [
      [client, server],
      [server, client],
    ]) {
      one.on('end', () => other.end());
      one.on('error', () => {});
      one.on('close', () => other.destroy());
    }
  }

  #requests(link, waiting) {
    return new Messages((line, headers) => {
      const [method, path] = line.split(' ');
      link.request = { method, path, body: 0, continued: false, sent: (name) => headers.get(name.toLowerCase()) };
      this.requests.push(link.request);
      waiting.push(link.request);
      if (this.breaks.test(path)) link.client.destroy();
      return true;
    });
  }

  #answers(waiting) {
    return new Messages((line, headers) => {
      const status = Number(line.split(' ')[1]);
      if (status === 100) {
        waiting[0].continued = true;
        return false;
      }
      const request = waiting.shift() ?? {}; // the server may refuse what never became a request
      Object.assign(request, { status, answer: (name) => headers.get(name.toLowerCase()) });
      return request.method !== 'HEAD' && status !== 204;
    });
  }

  #pass(link, pieces) {
    const { client, server } = link;
    for (const { bytes, payload } of pieces) {
      const passing = payload ? bytes.subarray(0, this.#allowance) : bytes;
      if (payload) {
        this.#allowance -= passing.length;
        link.request.body += passing.length;
      }
      if (!server.write(passing)) {
        client.pause();
        server.once('drain', () => link.held || client.resume());
      }
      if (passing.length < bytes.length) {
        link.held = true; // until it is cut: nothing more is read, not even the client's going away
        client.pause();
        this.#exhausted();
        return;
      }
    }
  }
}

/** A test whose client, a program of its own as a rule, speaks to its server over a wire. */
export function wireTest(name, options, body) {
  serverTest(name, { timeout: 120_000, ...options }, async (server, t) => {
    const wire = await new Wire(server).start();
    try {
      await body(server, wire, t);
    } finally {
      await wire.close();
    }
  });
}
