// tus-js-client's options, one by one, on small uploads.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { MiB, assertStored, digest, head, serverTest, until } from '../support.mjs';
import { client, openFile } from './client.mjs';

const offsets = (requests) => requests.map((r) => Number(r.sent('Upload-Offset')));

serverTest('chunkSize: one PATCH a chunk', {}, async (server) => {
  const chunkSize = MiB;
  for (const size of [3 * MiB, 3 * MiB + 17]) {
    const bytes = randomBytes(size);
    const c = client(bytes, { endpoint: server.endpoint, chunkSize });
    const url = await c.run();
    const expected = Array.from({ length: Math.ceil(size / chunkSize) }, (_, n) => n * chunkSize);
    assert.deepEqual(offsets(c.sentOf('PATCH')), expected);
    assert.ok(c.sentOf('PATCH').every((r) => r.status === 204));
    await assertStored(server, url, digest(bytes));
  }
});

// Needs beyond the text: the endpoint answers without its last slash too, and Location is absolute, since not every client
// resolves a relative one.
serverTest('the endpoint without its last slash', {}, async (server) => {
  const bytes = randomBytes(100_000);
  const c = client(bytes, { endpoint: server.endpoint.slice(0, -1) });
  const url = await c.run();
  assert.equal(c.requests[0].status, 201);
  assert.equal(c.requests[0].answer('Location'), url);
  assert.ok(url.startsWith(server.endpoint), url);
  await assertStored(server, url, digest(bytes));
});

// Needs beyond the text: HEAD of an upload of unknown length says `Upload-Defer-Length: 1` and no Upload-Length; and the
// PATCH that tells the length may come at the end, without a byte in it, chunked, and is a 204 with Upload-Offset.
serverTest('uploadLengthDeferred: a stream whose end nobody knows', {}, async (server) => {
  const bytes = randomBytes(MiB + 123);
  const chunkSize = 256 * 1024;
  const stream = new PassThrough();
  const c = client(stream, { endpoint: server.endpoint, uploadLengthDeferred: true, chunkSize });
  stream.write(bytes.subarray(0, chunkSize + 10));
  const finished = c.run();
  const told = await until('the first chunk is acknowledged', async () => {
    const first = c.sentOf('PATCH')[0];
    return first?.status === 204 && head(c.upload.url);
  });
  assert.equal(told.offset, chunkSize);
  assert.equal(told.headers['upload-defer-length'], '1');
  assert.equal(told.headers['upload-length'], undefined);

  stream.end(bytes.subarray(chunkSize + 10));
  const url = await finished;
  const last = c.sentOf('PATCH').at(-1);
  assert.equal(last.sent('Upload-Length'), String(bytes.length));
  assert.equal((await head(url)).headers['upload-length'], String(bytes.length));
  await assertStored(server, url, digest(bytes));
});

serverTest('uploadDataDuringCreation: the bytes come with the POST', {}, async (server) => {
  const bytes = randomBytes(2 * MiB + 5);
  const whole = client(bytes, { endpoint: server.endpoint, uploadDataDuringCreation: true });
  await assertStored(server, await whole.run(), digest(bytes));
  assert.equal(whole.shape, 'POST', 'all of it in one request');

  const chunked = client(bytes, { endpoint: server.endpoint, uploadDataDuringCreation: true, chunkSize: MiB });
  await assertStored(server, await chunked.run(), digest(bytes));
  assert.equal(chunked.shape, 'POST PATCH PATCH');
});

// Needs beyond the text: with both options the client sends no body with the POST, but reads Upload-Offset from the 201.
// `Upload-Offset: 0` on every creation makes that work at once; without it a client without retries fails.
serverTest('uploadLengthDeferred with uploadDataDuringCreation', {}, async (server) => {
  const bytes = randomBytes(300_000);
  const c = client(Readable.from([bytes], { objectMode: false }), {
    endpoint: server.endpoint,
    uploadLengthDeferred: true,
    uploadDataDuringCreation: true,
    chunkSize: 65_536,
    retryDelays: null,
  });
  const url = await c.run();
  assert.equal(c.requests[0].answer('Upload-Offset'), '0');
  assert.equal(c.sentOf('HEAD').length, 0, 'nothing had to be asked');
  await assertStored(server, url, digest(bytes));
});

// Needs beyond the text: an upload of no bytes is complete with its creation, also where the POST is one with data, which
// the client then sends chunked and empty; and in parallel it is a join of empty parts.
serverTest('zero bytes', {}, async (server) => {
  const nothing = Buffer.alloc(0);
  const empty = join(server.home, 'empty');
  await writeFile(empty, nothing);
  const cases = [
    [openFile(empty), {}, 'POST'],
    [nothing, {}, 'POST'],
    [nothing, { uploadDataDuringCreation: true }, 'POST'],
    [nothing, { parallelUploads: 4 }, 'POST POST POST POST POST'],
  ];
  for (const [file, options, shape] of cases) {
    const c = client(file, { endpoint: server.endpoint, ...options });
    const url = await c.run();
    assert.equal(c.shape, shape);
    const told = await head(url);
    assert.deepEqual([told.status, told.offset, told.headers['upload-length']], [200, 0, '0']);
    await assertStored(server, url, digest(nothing));
  }
});

// Needs beyond the text: HEAD gives the metadata back as it was sent, byte for byte, whatever the keys and values.
serverTest('metadata comes back verbatim', {}, async (server) => {
  const metadata = {
    filename: 'Übergrößenträger 世界 🌊.bin',
    'key-with.every_sign': 'x',
    empty: '',
    long: 'ä'.repeat(2500),
    number: 42,
    nothing: null,
    last: 'of all',
  };
  const bytes = randomBytes(1000);
  const c = client(bytes, { endpoint: server.endpoint, metadata });
  const url = await c.run();
  const sent = c.requests[0].sent('Upload-Metadata');
  assert.match(sent, /empty ,long /);
  const back = (await head(url)).headers['upload-metadata'];
  assert.ok(back === sent, `sent ${sent.slice(0, 300)}… but got ${back?.slice(0, 300)}…`);
  await assertStored(server, url, digest(bytes));
});

// Needs beyond the text: a download carries the name that the client gave, in the form of RFC 8187 where it is not ASCII.
serverTest('a non-ASCII file name comes back with the download', {}, async (server) => {
  const names = ['plain.txt', 'Größe – 名前 🌊.txt', 'with "quotes"; and, signs = %41.txt'];
  for (const filename of names) {
    const bytes = randomBytes(1000);
    const c = client(bytes, { endpoint: server.endpoint, metadata: { filename, filetype: 'text/plain' } });
    const download = await assertStored(server, await c.run(), digest(bytes));
    const disposition = download.headers['content-disposition'];
    assert.match(disposition, /^[\x20-\x7e]+$/, 'a header is ASCII');
    const extended = /;\s*filename\*=UTF-8''([^;\s]+)/i.exec(disposition)?.[1];
    const plain = /;\s*filename="?([^";]+)"?/.exec(disposition)?.[1];
    assert.equal(extended ? decodeURIComponent(extended) : plain, filename, disposition);
    assert.match(download.headers['content-type'], /^text\/plain\b/);
    assert.equal(download.headers['x-content-type-options'], 'nosniff');
  }
});

// Needs beyond the text (which has the header, but as an option): a client behind a proxy that knows no PATCH sends POST.
serverTest('overridePatchMethod: POST stands for PATCH', {}, async (server) => {
  const bytes = randomBytes(2 * MiB + 1);
  const c = client(bytes, { endpoint: server.endpoint, overridePatchMethod: true, chunkSize: MiB });
  const url = await c.run();
  assert.equal(c.shape, 'POST POST POST POST');
  assert.deepEqual(c.requests.map((r) => r.status), [201, 204, 204, 204]);
  await assertStored(server, url, digest(bytes));
});

// Needs beyond the text: the final upload's HEAD has Upload-Length and an equal Upload-Offset (to some clients a missing
// offset says "still joining"), and Upload-Concat as it was sent. Metadata belongs to the upload it was sent with.
serverTest('parallelUploads: the join and its parts', {}, async (server) => {
  const bytes = randomBytes(3 * MiB + 7);
  const c = client(bytes, {
    endpoint: server.endpoint,
    parallelUploads: 4,
    metadata: { filename: 'joined.bin' },
    metadataForPartialUploads: { part: 'of joined.bin' },
  });
  const url = await c.run();
  const creations = c.sentOf('POST');
  const join = creations.at(-1);
  assert.equal(creations.length, 5);
  const final = await head(url);
  assert.equal(final.status, 200);
  assert.equal(final.headers['upload-length'], String(bytes.length));
  assert.equal(final.headers['upload-offset'], String(bytes.length));
  assert.equal(final.headers['upload-concat'], join.sent('Upload-Concat'));
  assert.equal(final.headers['upload-metadata'], join.sent('Upload-Metadata'));
  for (const part of creations.slice(0, 4)) {
    const told = await head(part.answer('Location'));
    assert.equal(told.headers['upload-concat'], 'partial');
    assert.equal(told.headers['upload-metadata'], part.sent('Upload-Metadata'));
    assert.equal(told.offset, Number(part.sent('Upload-Length')));
  }
  await assertStored(server, url, digest(bytes));
});

// Needs beyond the text: parts of no bytes, which the client makes where there are more parts than bytes.
serverTest('more parallel parts than bytes', {}, async (server) => {
  const bytes = Buffer.from('tus');
  const c = client(bytes, { endpoint: server.endpoint, parallelUploads: 5 });
  const url = await c.run();
  const lengths = c.sentOf('POST').map((r) => r.sent('Upload-Length'));
  assert.deepEqual(lengths, ['0', '0', '0', '0', '3', undefined]);
  await assertStored(server, url, digest(bytes));
});

