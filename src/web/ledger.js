/**
 * What is stored of a file, chunk by chunk, and what is on its way.
 * @module
 */

/** What a chunk is. */
export const CHUNK = Object.freeze({ MISSING: 0, SENDING: 1, STORED: 2, FAILED: 3 });

/** The chunks of one session, numbered from 1. */
export class Ledger {
  #size;
  #chunkSize;
  #whole = 0;
  /** Bytes of chunks that are begun, and stored. */
  #begun = new Map();
  /** Bytes beyond those that are on their way. */
  #flying = new Map();

  constructor(size, chunkSize) {
    this.#size = size;
    this.#chunkSize = chunkSize;
    /** The state of each chunk; chunk n at n - 1 */
    this.chunks = new Uint8Array(Math.ceil(size / chunkSize));
  }

  /** As the server's answer to `resume`, or to `initialize`, tells it. */
  static of(size, told) {
    const ledger = new Ledger(size, told.chunk_size);
    for (const n of told.uploaded_chunks ?? []) ledger.store(n);
    if (['scanning', 'completed'].includes(told.status)) for (let n = 1; n <= ledger.chunks.length; n += 1) ledger.store(n);
    for (const { chunk, offset } of told.partial ?? []) ledger.begun(chunk, offset);
    return ledger;
  }

  sizeOf(n) {
    return Math.min(this.#chunkSize, this.#size - (n - 1) * this.#chunkSize);
  }

  /** Bytes that the server keeps. */
  get stored() {
    let bytes = this.#whole;
    for (const offset of this.#begun.values()) bytes += offset;
    return bytes;
  }

  /** The same, and those that are on their way. */
  get sent() {
    let bytes = this.stored;
    for (const flying of this.#flying.values()) bytes += flying;
    return bytes;
  }

  has(n) {
    return this.chunks[n - 1] === CHUNK.STORED;
  }

  /** Where the rest of a chunk begins. */
  offsetOf(n) {
    return this.#begun.get(n) ?? 0;
  }

  /** What is left, in the order in which it is best sent: first what is begun. */
  missing() {
    const left = [];
    this.chunks.forEach((state, at) => state === CHUNK.STORED || left.push(at + 1));
    return left.sort((a, b) => this.#begun.has(b) - this.#begun.has(a) || a - b);
  }

  /** So many bytes of the request that sends a chunk are on their way. */
  fly(n, bytes) {
    if (this.has(n)) return false;
    this.chunks[n - 1] = CHUNK.SENDING;
    this.#flying.set(n, Math.min(bytes, this.sizeOf(n) - this.offsetOf(n)));
    return true;
  }

  /** So many of its first bytes are stored, and nothing is on its way. */
  begun(n, offset) {
    if (this.has(n)) return;
    this.#flying.delete(n);
    if (offset > 0) this.#begun.set(n, Math.min(offset, this.sizeOf(n)));
    else this.#begun.delete(n);
  }

  /** What was on its way is lost. */
  fail(n) {
    if (this.has(n)) return;
    this.#flying.delete(n);
    this.chunks[n - 1] = CHUNK.FAILED;
  }

  /** It is stored; `false` if it was, or if there is no such chunk. */
  store(n) {
    if (!(n >= 1 && n <= this.chunks.length) || this.has(n)) return false;
    this.#flying.delete(n);
    this.#begun.delete(n);
    this.#whole += this.sizeOf(n);
    this.chunks[n - 1] = CHUNK.STORED;
    return true;
  }

  /** A chunk, for those who are told of it. */
  entry(n) {
    const size = this.sizeOf(n);
    const sent = this.has(n) ? size : this.offsetOf(n) + (this.#flying.get(n) ?? 0);
    return { chunk: n, state: this.chunks[n - 1], sent, size };
  }
}
