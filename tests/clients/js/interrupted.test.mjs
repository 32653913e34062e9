// What happens to clients between the first and the last byte: pauses, lost networks, restarts of the server, second
// thoughts. A `Gate` holds a request in its middle, so that each test says exactly what was sent when it was cut.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB, ask, assertGone, assertStored, digest, head, serverTest, until, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';
import { Gate, STUBBORN, client, openFile, urlStorage } from './client.mjs';

const source = randomBytes(8 * MiB);
const stored = (upload) => upload.findPreviousUploads();

// Needs beyond the text: HEAD answers beside a running PATCH, with what is safe so far, and does not disturb it.
serverTest('HEAD beside a hanging PATCH tells what is safe', {}, async (server) => {
  const gate = new Gate(source, 3 * MiB);
  const c = client(source, { endpoint: server.endpoint, fileReader: gate, retryDelays: null });
  const finished = c.run();
  await gate.reached;
  await untilTold(c.upload.url, 3 * MiB);
  gate.open();
  const url = await finished;
  assert.equal(c.shape, 'POST PATCH', 'the PATCH ran through');
  await assertStored(server, url, digest(source));
});

// Needs beyond the text: a request whose client is long gone is taken over by the same client's next one, well within its
// retries; a server that answers 423 until the dead connection times out loses the upload.
serverTest('a client whose network changed takes over from its own hanging request', {}, async (server) => {
  const gate = new Gate(source, 3 * MiB);
  const lost = client(source, { endpoint: server.endpoint, fileReader: gate, retryDelays: null });
  lost.upload.start();
  await gate.reached;
  await untilTold(lost.upload.url, 3 * MiB);

  const back = client(source, { endpoint: server.endpoint, uploadUrl: lost.upload.url });
  const url = await back.run();
  assert.equal(url, lost.upload.url);
  assert.equal(back.resumedAt, 3 * MiB);
  await assertStored(server, url, digest(source));
  await lost.upload.abort();
});

// As Uppy's pause button: the connection is cut in mid-PATCH, and HEAD and PATCH follow at once, while the server may
// still be reading what was on its way.
wireTest('paused and resumed at once, again and again', {}, async (server, wire) => {
  wire.pace = 32 * MiB; // the client tells its progress now and then only
  const path = join(server.home, 'source');
  const bytes = randomBytes(64 * MiB);
  await writeFile(path, bytes);
  const c = client(openFile(path), { endpoint: wire.endpoint, retryDelays: STUBBORN });
  for (const part of [1, 2, 3, 4, 5]) {
    await c.runUntil(part * 8 * MiB);
    await c.upload.abort();
  }
  const url = await c.run();
  assert.equal(c.sentOf('POST').length, 1, 'one upload');
  const offsets = c.sentOf('PATCH').map((r) => Number(r.sent('Upload-Offset')));
  assert.deepEqual(offsets, [...offsets].sort((a, b) => a - b), 'an offset never falls');
  assert.ok(offsets.at(-1) > 0, `resumed at ${offsets}`);
  await assertStored(server, url, digest(bytes));
});

// The promise: what HEAD told stands after a crash. And the manners: an orderly end seals what arrived, and answers so that
// the client tries again (a 4xx would make it give up; a HEAD that fails would make it begin from zero).
for (const signal of ['SIGTERM', 'SIGKILL']) {
  serverTest(`the client's own retries ride over a restart by ${signal}`, {}, async (server) => {
    const gate = new Gate(source, 3 * MiB);
    const c = client(source, { endpoint: server.endpoint, fileReader: gate, retryDelays: STUBBORN });
    const finished = c.run();
    await gate.reached;
    await untilTold(c.upload.url, 3 * MiB);
    await server.end(signal);
    gate.open();
    await server.start();
    const url = await finished;
    assert.equal(c.sentOf('POST').length, 1, 'nothing began anew');
    assert.equal(Number(c.sentOf('PATCH').at(-1).sent('Upload-Offset')), 3 * MiB);
    await assertStored(server, url, digest(source));
  });
}

serverTest('resumed from a stored URL, chunk by chunk', {}, async (server) => {
  const options = { endpoint: server.endpoint, urlStorage: urlStorage(server), chunkSize: MiB };
  const first = client(source, options);
  first.upload.options.onChunkComplete = (_, accepted) => accepted >= 3 * MiB && first.upload.abort();
  first.upload.start();
  await until('three chunks are acknowledged', () => first.sentOf('PATCH').filter((r) => r.status === 204).length === 3);

  const second = client(source, options);
  const [previous] = await stored(second.upload);
  second.upload.resumeFromPreviousUpload(previous);
  const url = await second.run();
  assert.equal(url, first.upload.url);
  assert.equal(second.resumedAt, 3 * MiB);
  await assertStored(server, url, digest(source));

  // The same file once more, as Uppy does it: one HEAD, which tells that everything is there.
  const third = client(source, options);
  third.upload.resumeFromPreviousUpload((await stored(third.upload))[0]);
  assert.equal(await third.run(), url);
  assert.equal(third.shape, 'HEAD');
});

// Needs beyond the text: HEAD of an upload that is no more is a 4xx. The client forgets the URL and begins a new upload;
// a 5xx it would ask for ever.
serverTest('a stored URL whose upload was deleted', {}, async (server) => {
  const options = { endpoint: server.endpoint, urlStorage: urlStorage(server) };
  const first = client(source, options);
  await first.run();
  assert.equal((await ask('DELETE', first.upload.url)).status, 204);

  const second = client(source, options);
  second.upload.resumeFromPreviousUpload((await stored(second.upload))[0]);
  const url = await second.run();
  assert.notEqual(url, first.upload.url);
  assert.equal(second.shape, 'HEAD POST PATCH');
  assert.equal(second.requests[0].status, 404);
  await assertStored(server, url, digest(source));
});

// Needs beyond the text: DELETE works while the PATCH that it ends is still being torn down, with 204 exactly; afterwards
// HEAD and GET are 404.
serverTest('abort(true) terminates in mid-PATCH', {}, async (server) => {
  const gate = new Gate(source, 3 * MiB);
  const options = { endpoint: server.endpoint, fileReader: gate, urlStorage: urlStorage(server) };
  const c = client(source, options);
  c.upload.start();
  await gate.reached;
  assert.equal((await stored(c.upload)).length, 1);
  await c.upload.abort(true);
  assert.equal(c.sentOf('DELETE').at(-1).status, 204);
  await until('the client forgot the URL', async () => (await stored(c.upload)).length === 0);
  await assertGone(server, c.upload.url);
  await server.crash();
  await assertGone(server, c.upload.url);
});

serverTest('a finished upload is terminated', {}, async (server) => {
  const c = client(source, { endpoint: server.endpoint });
  const url = await c.run();
  await assertStored(server, url, digest(source));
  await c.upload.constructor.terminate(url);
  await assertGone(server, url);
});

wireTest('abort(true) terminates every part of a parallel upload', {}, async (server, wire) => {
  wire.pace = 8 * MiB;
  const path = join(server.home, 'source');
  await writeFile(path, randomBytes(64 * MiB));
  const c = client(openFile(path), { endpoint: wire.endpoint, parallelUploads: 4, retryDelays: STUBBORN });
  const parts = () => c.sentOf('POST').filter((r) => r.status === 201);
  await c.runUntil(16 * MiB, () => parts().length === 4);
  await c.upload.abort(true);
  // The client does not wait for the answers of its parts.
  const answered = () => c.sentOf('DELETE').filter((r) => r.status === 204).length === 4;
  await until('four DELETEs are answered', answered);
  for (const part of parts()) await assertGone(server, part.answer('Location'));
  assert.equal((await head(server.endpoint + 'unknown')).status, 404);
});
