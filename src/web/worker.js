// Hashes chunks beside the page: `{ id, blob }` in, `{ id, hex }` or `{ id, error }` out. A blob that comes here is a
// reference into the file: it is read here, and the page's memory never sees it.
import { sha256 } from './sha256.js';

self.onmessage = async ({ data: { id, blob } }) => {
  try {
    self.postMessage({ id, hex: await sha256(blob) });
  } catch (error) {
    self.postMessage({ id, error: String(error?.name ?? error) });
  }
};
