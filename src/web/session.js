/**
 * The session API, request by request: what is sent and what is answered, without patience or policy.
 * @module
 */
import { UploadError } from './errors.js';
import { base64 } from './sha256.js';
import { expectJson, request } from './transport.js';

/** @typedef {import('./store.js').Kept} Kept */
/** @typedef {(method: string, url: string|URL, options: object) => ReturnType<typeof request>} Send */

/** A session at the server, with the token to it. */
export class Session {
  #url;

  /**
   * @param {Kept} kept
   * @param {string} uploadUrl where the upload lies for tus
   */
  constructor(kept, uploadUrl) {
    this.kept = kept;
    this.uploadUrl = new URL(uploadUrl, kept.endpoint).href;
    this.#url = `${kept.endpoint}${kept.id}`;
  }

  /**
   * Makes one.
   * @param {Send} send
   * @param {string} endpoint
   * @param {object} asked as the server has it: `filename`, `size`, and what may be left out
   * @param {{ name: string, size: number, lastModified: number }} file
   * @param {?string} [authorization] who makes it, where the server asks for that
   */
  static async initialize(send, endpoint, asked, file, authorization) {
    const headers = { 'Content-Type': 'application/json' };
    if (authorization) headers.Authorization = authorization;
    const answer = await send('POST', `${endpoint}initialize`, { headers, body: JSON.stringify(asked) });
    const told = expectJson(answer);
    const kept = {
      endpoint,
      id: told.session_id,
      token: told.session_token,
      name: file.name,
      size: file.size,
      lastModified: file.lastModified,
      chunkSize: told.chunk_size,
      firstHash: '',
      createdAt: told.created_at,
    };
    return { session: new Session(kept, told.upload_url), told };
  }

  /** Finds a kept one again; `told` says what is missing. */
  static async resume(send, kept) {
    const url = `${kept.endpoint}${kept.id}`;
    const told = expectJson(await send('GET', `${url}/resume`, { headers: bearer(kept) }));
    if (['failed', 'cancelled', 'expired'].includes(told.status)) {
      throw new UploadError(told.status === 'failed' ? 'file-hash-mismatch' : told.status, { status: 410 });
    }
    return { session: new Session(kept, told.upload_url), told };
  }

  /** @param {Send} send */
  static async status(send, kept) {
    return expectJson(await send('GET', `${kept.endpoint}${kept.id}/status`, { headers: bearer(kept) }));
  }

  static async cancel(send, kept) {
    // Where the uploads themselves lie under the same path, it is tus's DELETE.
    const headers = { ...bearer(kept), 'Tus-Resumable': '1.0.0' };
    await send('DELETE', `${kept.endpoint}${kept.id}`, { headers });
  }

  /** Sends a chunk whole. */
  async chunk(send, n, body, hash, onSent) {
    const headers = { ...bearer(this.kept), 'X-Chunk-SHA256': hash };
    await send('POST', `${this.#url}/chunks/${n}`, { headers, body, onSent });
  }

  /** Sends a part of a chunk, by tus; returns the chunk's new offset. */
  async part(send, n, offset, body, hash, onSent) {
    const headers = {
      ...bearer(this.kept),
      'Tus-Resumable': '1.0.0',
      'Upload-Offset': String(offset),
      'Upload-Checksum': `sha256 ${base64(hash)}`,
      'Content-Type': 'application/offset+octet-stream',
    };
    const answer = await send('PATCH', `${this.uploadUrl}/${n}`, { headers, body, onSent });
    if (answer.offset === null) throw new UploadError('unexpected', { status: answer.status, detail: 'no Upload-Offset' });
    return answer.offset;
  }

  async finalize(send) {
    return expectJson(await send('POST', `${this.#url}/finalize`, { headers: bearer(this.kept) }));
  }
}

const bearer = ({ token }) => ({ Authorization: `Bearer ${token}` });
