// The client module on a page of another origin: it is imported from the server, and uploads to it across origins.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { MiB, digest } from '../support.mjs';
import { assertStored, visitTest } from './visit.mjs';

visitTest('a page of another origin imports the module and uploads', {}, async (server, visitor) => {
  const web = createServer((_, response) => {
    response.setHeader('Content-Type', 'text/html').end('<!doctype html><link rel="icon" href="data:,"><title>Elsewhere</title>');
  });
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  try {
    await visitor.tab.goto(`http://127.0.0.1:${web.address().port}/`);
    const size = 3 * MiB + 5;
    const outcome = await visitor.tab.evaluate(
      async ([origin, size]) => {
        const { CHUNK, Upload, UploadError } = await import(`${origin}/web/highwater.js`);
        const bytes = new Uint8Array(size).map((_, at) => (at * 7 + (at >> 8)) % 251);
        const file = new File([bytes], 'elsewhere.bin', { type: 'application/x-elsewhere', lastModified: 5 });
        const options = { endpoint: `${origin}/uploads`, parallel: 2, chunkSize: 1 << 19, metadata: { lang: 'de' } };
        const upload = new Upload(file, options);
        const states = [];
        const chunks = new Set();
        let told = 0;
        const done = new Promise((resolve) => {
          upload.addEventListener('state', () => {
            states.push(upload.state);
            if (['completed', 'failed'].includes(upload.state)) resolve();
          });
        });
        upload.addEventListener('chunk', ({ detail }) => detail.state === CHUNK.STORED && chunks.add(detail.chunk));
        upload.addEventListener('progress', () => (told += 1));
        upload.start();
        upload.start(); // is nothing
        await done;
        const headers = { Authorization: `Bearer ${upload.token}` };
        const answer = await fetch(upload.url, { headers });
        const back = new Uint8Array(await answer.arrayBuffer());
        return {
          states,
          chunks: chunks.size,
          told,
          error: upload.error instanceof UploadError ? upload.error.code : upload.error,
          stored: upload.stored,
          type: answer.headers.get('content-type'),
          same: back.length === size && back.every((byte, at) => byte === bytes[at]),
          unfinished: Upload.unfinished(options.endpoint).length,
        };
      },
      [visitor.origin, size],
    );
    assert.deepEqual(outcome.states, ['starting', 'uploading', 'finishing', 'completed']);
    assert.deepEqual([outcome.chunks, outcome.stored, outcome.error], [7, size, null]);
    assert.deepEqual([outcome.same, outcome.type, outcome.unfinished], [true, 'application/x-elsewhere', 0]);
    assert.ok(outcome.told >= 7);
    const bytes = Buffer.from(new Uint8Array(size).map((_, at) => (at * 7 + (at >> 8)) % 251));
    await assertStored(server, { digest: digest(bytes) });
  } finally {
    web.closeAllConnections();
    web.close();
  }
});
