// The main job: tus-js-client, unmodified, uploads a real file of over 500 MB, is cut in the middle, resumes, and what is
// stored is the file, byte for byte.
import assert from 'node:assert/strict';
import { assertStored, bigFile, head, serverTest, until } from '../support.mjs';
import { client, openFile, urlStorage } from './client.mjs';

const { path, ...source } = await bigFile();
const timeout = 170_000;
const third = Math.floor(source.size / 3);

/** The one previous upload that the client's storage knows of. */
async function previous(upload) {
  return until('the URL is stored', async () => {
    const found = await upload.findPreviousUploads();
    assert.ok(found.length <= 1);
    return found[0];
  });
}

// Beyond the text of tus: the bytes of a cut request count (it says SHOULD). Without a chunk size there is but one PATCH,
// so a server that keeps whole requests only would start again from nothing, every time.
serverTest('one stream: cut by the client, resumed by the stored URL', { timeout }, async (server) => {
  const options = { endpoint: server.endpoint, urlStorage: urlStorage(server), metadata: { filename: 'toolchain.tar' } };
  const first = client(openFile(path), options);
  await first.runUntil(third);
  await first.upload.abort();
  assert.equal(first.shape, 'POST PATCH', 'one stream');

  // A new object, as after a restart of the program: all it has is the file and the storage.
  const second = client(openFile(path), options);
  second.upload.resumeFromPreviousUpload(await previous(second.upload));
  const url = await second.run();
  assert.equal(url, first.upload.url);
  assert.ok(second.resumedAt > 0, `resumed at ${second.resumedAt}`);
  assert.equal(second.sentOf('POST').length, 0, 'nothing began anew');
  await assertStored(server, url, source);
});

serverTest('one stream: the server is killed, resumed by the upload URL', { timeout }, async (server) => {
  const first = client(openFile(path), { endpoint: server.endpoint, retryDelays: null });
  await first.runUntil(third);
  const told = (await head(first.upload.url)).offset;
  await server.crash();
  await assert.rejects(first.finished, 'the cut is seen by the client');

  const second = client(openFile(path), { endpoint: server.endpoint, uploadUrl: first.upload.url });
  const url = await second.run();
  assert.equal(url, first.upload.url);
  assert.ok(second.resumedAt > 0, `resumed at ${second.resumedAt}`);
  assert.ok(second.resumedAt >= told, `told ${told} before the crash, ${second.resumedAt} after it`);
  assert.equal(second.sentOf('POST').length, 0, 'nothing began anew');
  await assertStored(server, url, source);
});

// What a parallel upload looks like, resumed: each part asked for its offset, then the parts joined. Not one new part.
function assertPartsResumed(second) {
  const patches = second.sentOf('PATCH');
  const offsets = patches.map((r) => Number(r.sent('Upload-Offset')));
  assert.ok(patches.length > 0 && Math.max(...offsets) > 0, `resumed at ${offsets}`);
  const creations = second.sentOf('POST').map((r) => r.sent('Upload-Concat').split(';')[0]);
  assert.deepEqual(creations, ['final'], 'no part began anew');
}

async function cutInParallel(server, options) {
  const first = client(openFile(path), options);
  const begun = () => first.requests.filter((r) => r.method === 'POST' && r.status === 201).length === 4;
  await first.runUntil(third, begun);
  return first;
}

serverTest('four streams: cut by the client, resumed by the stored URLs', { timeout }, async (server) => {
  const options = { endpoint: server.endpoint, urlStorage: urlStorage(server), parallelUploads: 4 };
  const first = await cutInParallel(server, options);
  await first.upload.abort();

  const second = client(openFile(path), options);
  second.upload.resumeFromPreviousUpload(await previous(second.upload));
  const url = await second.run();
  assertPartsResumed(second);
  const final = await head(url);
  assert.equal(final.headers['upload-length'], String(source.size));
  assert.equal(final.offset, source.size);
  await assertStored(server, url, source);
});

serverTest('four streams: the server is killed in them and after the join', { timeout }, async (server) => {
  const options = { endpoint: server.endpoint, urlStorage: urlStorage(server), parallelUploads: 4, retryDelays: null };
  const first = await cutInParallel(server, options);
  const stored = await previous(first.upload);
  await server.crash();
  await assert.rejects(first.finished, 'the cut is seen by the client');

  // Patient, as a page is by default: its first HEAD may come while the server is still starting.
  const second = client(openFile(path), { ...options, retryDelays: [0, 1000, 3000, 5000] });
  second.upload.resumeFromPreviousUpload(stored);
  const url = await second.run();
  assertPartsResumed(second);
  // The join was acknowledged: it stands, whole, although its file has hardly begun to be assembled.
  await server.crash();
  await assertStored(server, url, source);
});
