/**
 * Hashes by a worker that all uploads of a page share.
 * @module
 */
import { UploadError } from './errors.js';
import { sha256 } from './sha256.js';

let worker;
let broken = false;
let last = 0;
const asked = new Map();

/** Where there can be no worker (this module is of another origin, or a policy forbids it), the page hashes itself. */
function fallBack() {
  broken = true;
  worker?.terminate();
  worker = undefined;
  for (const { blob, resolve, reject } of asked.values()) sha256(blob).then(resolve, reject);
  asked.clear();
}

function begin() {
  try {
    worker = new Worker(new URL('worker.js', import.meta.url), { type: 'module' });
  } catch {
    return fallBack();
  }
  worker.onerror = fallBack;
  worker.onmessage = ({ data: { id, hex, error } }) => {
    const { resolve, reject } = asked.get(id) ?? {};
    asked.delete(id);
    if (error) reject?.(Object.assign(new Error(error), { name: error }));
    else resolve?.(hex);
  };
}

/**
 * @param {Blob} blob
 * @returns {Promise<string>} its SHA-256, 64 hexadecimal digits; fails with `unreadable` where the file has changed or gone
 */
export async function hash(blob) {
  try {
    return await hashed(blob);
  } catch (error) {
    throw new UploadError('unreadable', { detail: String(error?.name ?? error), cause: error });
  }
}

function hashed(blob) {
  if (!worker && !broken) begin();
  if (broken) return sha256(blob);
  return new Promise((resolve, reject) => {
    last += 1;
    asked.set(last, { blob, resolve, reject });
    worker.postMessage({ id: last, blob });
  });
}
