/**
 * Sessions that are kept in the browser: what it takes to go on with one after a reload.
 * @module
 */

const PREFIX = 'highwater:';

/** @typedef {{ endpoint: string, id: string, token: string, name: string, size: number, lastModified: number,
 *   chunkSize: number, firstHash: string, createdAt: string }} Kept */

/** What is kept of sessions, an entry a session: two tabs never overwrite each other's. */
export class Store {
  #storage;

  /** @param {?Storage} storage `null` to keep nothing */
  constructor(storage) {
    this.#storage = storage;
  }

  /** The browser's own, where the page may use it. */
  static browser() {
    try {
      return new Store(globalThis.localStorage ?? null);
    } catch {
      return new Store(null); // cookies and the like are switched off
    }
  }

  /** @param {Kept} kept */
  keep(kept) {
    try {
      this.#storage?.setItem(PREFIX + kept.id, JSON.stringify(kept));
    } catch {
      // It is full: the upload goes on, and cannot be found again after a reload.
    }
  }

  forget(id) {
    this.#storage?.removeItem(PREFIX + id);
  }

  /** @returns {Kept[]} those at this endpoint, the oldest first; of one second, by their names */
  all(endpoint) {
    const found = [];
    for (let at = 0; at < (this.#storage?.length ?? 0); at += 1) {
      const key = this.#storage.key(at);
      if (!key?.startsWith(PREFIX)) continue;
      try {
        const kept = JSON.parse(this.#storage.getItem(key));
        if (kept?.endpoint === endpoint && typeof kept.id === 'string') found.push(kept);
      } catch {
        // Somebody else's.
      }
    }
    const order = new Intl.Collator(undefined, { numeric: true });
    return found.sort((a, b) => order.compare(a.createdAt, b.createdAt) || order.compare(a.name, b.name));
  }

  /** Those that may be of this file, as far as its name, size and time tell. */
  like(endpoint, { name, size, lastModified }) {
    const same = (kept) => kept.name === name && kept.size === size && kept.lastModified === lastModified;
    return this.all(endpoint).filter(same);
  }
}
