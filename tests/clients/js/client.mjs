// What the tests of tus-js-client share: the client with a diary of its requests, and a source that stops in its middle.
import assert from 'node:assert/strict';
import { createReadStream } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import tus from 'tus-js-client';

/** A client that rides over a restart: tus-js-client's own default gives up after 9 s, which a busy machine may need. */
export const STUBBORN = [0, 100, 200, 400, 800, 1600, 3200, 6400, 12_800];

export const urlStorage = (server, name = 'urls.json') => new tus.FileUrlStorage(join(server.home, name));
export const openFile = (path) => createReadStream(path);

/**
 * An unmodified tus-js-client. `requests` is its diary, in the order in which requests were sent: method, URL, what was
 * sent of the tus headers, and once answered `status` and `answer(name)`. `finished` settles as the upload does.
 */
export function client(file, options) {
  const requests = [];
  const entries = new WeakMap();
  let progressed = () => {};
  let settle;
  const finished = new Promise((resolve, reject) => {
    settle = { resolve, reject };
  });
  finished.catch(() => {}); // a test may cut the upload and never ask
  const upload = new tus.Upload(file, {
    ...options,
    onBeforeRequest(req) {
      const entry = { method: req.getMethod(), url: req.getURL(), sent: (name) => req.getHeader(name) };
      entries.set(req, entry);
      requests.push(entry);
    },
    onAfterResponse(req, res) {
      Object.assign(entries.get(req), { status: res.getStatus(), answer: (name) => res.getHeader(name) });
    },
    onProgress: (bytes) => progressed(bytes),
    onSuccess: () => settle.resolve(upload.url),
    onError: settle.reject,
  });
  return {
    upload,
    requests,
    finished,
    /** Starts, and gives the URL once everything is uploaded. */
    run() {
      upload.start();
      return finished;
    },
    /** Starts, and returns once `bytes` have been sent, in the middle of whatever request is on its way then. */
    async runUntil(bytes, alsoWhen = () => true) {
      const reached = new Promise((resolve) => {
        progressed = (sent) => sent >= bytes && alsoWhen() && resolve('reached');
      });
      upload.start();
      const first = await Promise.race([reached, finished]);
      assert.equal(first, 'reached', 'the upload was over before it could be cut');
    },
    sentOf: (method) => requests.filter((r) => r.method === method),
    /** The methods in the order in which they were sent: a shape to compare. */
    get shape() {
      return requests.map((r) => r.method).join(' ');
    },
    /** Where the first PATCH began. */
    get resumedAt() {
      return Number(requests.find((r) => r.method === 'PATCH')?.sent('Upload-Offset'));
    },
  };
}

/**
 * A source that gives `gate` bytes and then nothing until `open()`: a request that hangs in its middle, as that of a
 * client whose network went away does. It is handed in by tus-js-client's public `fileReader` option.
 */
export class Gate {
  constructor(bytes, gate) {
    this.size = bytes.length;
    this.bytes = bytes;
    this.gate = gate;
    this.reached = new Promise((resolve) => (this.signal = resolve));
    this.opened = new Promise((resolve) => (this.open = resolve));
  }

  async openFile() {
    return this;
  }

  async slice(start, end) {
    const value = Readable.from(this.#pieces(start, end), { objectMode: false });
    value.size = end - start;
    return { value, done: end >= this.size };
  }

  async *#pieces(start, end) {
    const halt = Math.min(Math.max(start, this.gate), end);
    for (let at = start; at < halt; at += 65_536) yield this.bytes.subarray(at, Math.min(at + 65_536, halt));
    if (halt < end) {
      this.signal();
      await this.opened;
    }
    for (let at = halt; at < end; at += 65_536) yield this.bytes.subarray(at, Math.min(at + 65_536, end));
  }

  close() {}
}
