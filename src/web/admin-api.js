// The admin API: one request, with the token if there is one, and what went wrong told by its kind.
import { explained } from './admin-words.js';
import { tokenOf } from './token.js';

/** What is always there, if the API is. */
const FIXED = /^(cleanup$|uploads\/(active|metrics|storage)\b)/;
/** After this long the server counts as away. */
const PATIENCE = 15_000;

/** `kind` is `token` (missing or wrong), `hidden` (there is no API here), `away` (no answer) or `refused`. */
export class Trouble extends Error {
  constructor(kind, text, code = null) {
    super(text);
    this.kind = kind;
    this.code = code;
  }
}

/** What operators are asked for. */
export const token = tokenOf('highwater-admin-token');

/** The server's clock, as its answers tell it: this machine's own may be wrong. */
export const server = {
  ahead: 0,
  now: () => Date.now() + server.ahead,
  told(date) {
    const ahead = Date.parse(date) - Date.now();
    // An answer's date is in whole seconds: less than two are no difference.
    if (!Number.isNaN(ahead)) server.ahead = Math.abs(ahead) < 2000 ? 0 : ahead;
  },
};

async function request(method, path, signal) {
  const headers = new Headers({ Accept: 'application/json' });
  if (token.get()) headers.set('Authorization', `Bearer ${token.get()}`);
  const limits = [AbortSignal.timeout(PATIENCE), signal].filter(Boolean);
  const options = { method, headers, cache: 'no-store', credentials: 'same-origin', redirect: 'error', signal: AbortSignal.any(limits) };
  let answer, body;
  try {
    // Relative to the page: a proxy may have put both below a path of its own.
    answer = await fetch(`admin/${path}`, options);
    body = await answer.json().catch((error) => {
      if (error instanceof SyntaxError) return null;
      throw error;
    });
  } catch (error) {
    if (signal?.aborted) throw signal.reason;
    throw new Trouble('away', 'The server does not answer.');
  }
  server.told(answer.headers.get('Date'));
  if (answer.ok && body) return body;
  const text = explained(answer.status, body);
  if (answer.status === 401) throw new Trouble('token', text, body?.code);
  if (body?.code === 'shutting-down' || (answer.status >= 502 && answer.status <= 504)) throw new Trouble('away', text);
  if (answer.status === 404 && FIXED.test(path)) throw new Trouble('hidden', text);
  throw new Trouble('refused', text, body?.code ?? null);
}

export const api = {
  list: (query, signal) => request('GET', `uploads/active?${query}`, signal),
  metrics: (signal) => request('GET', 'uploads/metrics', signal),
  storage: (signal) => request('GET', 'uploads/storage', signal),
  // An id is of characters that a path takes as they are; encoded, it would be another one.
  upload: (id) => request('GET', `uploads/${id}`),
  cancel: (id) => request('POST', `uploads/${id}/cancel`),
  cleanup: () => request('POST', 'cleanup'),
};
