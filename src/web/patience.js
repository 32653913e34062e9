/**
 * Tries again what fails in passing.
 * @module
 */
import { UploadError } from './errors.js';
import { backoff } from './policy.js';

const isOffline = () => globalThis.navigator?.onLine === false;

/** The patience of one upload: whatever it does at the same time waits together. */
export class Patience {
  #retries;
  #tell;
  #failures = 0;
  #wait = null;

  /**
   * @param {number} retries failures in a row that are overcome
   * @param {{ waits: (error: UploadError, retryAt: ?number) => void, goesOn: () => void }} tell `retryAt` is `null` while
   *   the device is offline
   */
  constructor(retries, tell) {
    this.#retries = retries;
    this.#tell = tell;
  }

  /** As if nothing had failed yet. */
  reset() {
    this.#failures = 0;
  }

  /** Does not wait any longer. */
  now() {
    this.#wait?.over();
  }

  /**
   * Does something until it succeeds, or fails for good.
   * @template T
   * @param {AbortSignal} run
   * @param {() => Promise<T>} work
   */
  async until(run, work) {
    for (;;) {
      await this.#calm(run);
      try {
        const outcome = await work();
        run.throwIfAborted();
        this.#failures = 0;
        return outcome;
      } catch (error) {
        this.#stumble(run, error);
      }
    }
  }

  /** After a failure: throws it, or sees to it that there is a wait. Of failures that come together, one counts. */
  #stumble(run, error) {
    run.throwIfAborted();
    if (!(error instanceof UploadError) || !error.passing) throw error;
    if (this.#wait) return;
    const offline = isOffline();
    // A connection that is not there is no failure of a try.
    if (!offline) this.#failures += 1;
    if (this.#failures > this.#retries) throw error;
    const wait = {};
    const ended = new Promise((resolve) => (wait.over = resolve));
    const delay = Math.max(error.wait, backoff(this.#failures));
    if (!offline) wait.timer = setTimeout(wait.over, delay);
    wait.done = ended.then(() => {
      clearTimeout(wait.timer);
      this.#wait = null;
      if (!run.aborted) this.#tell.goesOn();
    });
    this.#wait = wait;
    this.#tell.waits(error, offline ? null : Date.now() + delay);
  }

  async #calm(run) {
    while (this.#wait || isOffline()) {
      if (!this.#wait) this.#stumble(run, new UploadError('offline'));
      await this.#wait.done;
      run.throwIfAborted();
    }
    run.throwIfAborted();
  }
}
