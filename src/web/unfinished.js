/**
 * Uploads of an earlier visit.
 * @module
 */
import { backoff } from './policy.js';
import { Session } from './session.js';
import { request } from './transport.js';

/** An upload of an earlier visit, which goes on when an `Upload` of the same file is started. */
export class Unfinished {
  #kept;
  #store;

  constructor(kept, store) {
    this.#kept = kept;
    this.#store = store;
    this.id = kept.id;
    this.name = kept.name;
    this.size = kept.size;
    this.lastModified = kept.lastModified;
    this.createdAt = kept.createdAt;
  }

  /** Whether a file can be the one that it began with: by name, size and time; its content is compared when it starts. */
  matches({ name, size, lastModified }) {
    return name === this.name && size === this.size && lastModified === this.lastModified;
  }

  /**
   * How it stands, as the server tells it: `bytes_transferred`, `expires_at`, and so on. Where the server has forgotten it,
   * so does the browser.
   */
  async status() {
    try {
      return await Session.status(request, this.#kept);
    } catch (error) {
      if (error.ended) this.#store.forget(this.id);
      throw error;
    }
  }

  /** Ends it for good. */
  cancel() {
    return discard(this.#store, this.#kept);
  }
}

/** Ends a session. Whatever becomes of the request: what is not cancelled expires. */
export async function discard(store, kept) {
  store.forget(kept.id);
  for (let attempt = 1; attempt <= 4; attempt += 1) {
    try {
      return await Session.cancel(request, kept);
    } catch (error) {
      if (!error.passing) return undefined;
      await new Promise((resolve) => setTimeout(resolve, backoff(attempt)));
    }
  }
  return undefined;
}
