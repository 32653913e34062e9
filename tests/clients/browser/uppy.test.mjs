// Uppy (@uppy/core 6.3.1, @uppy/tus 6.0.0) in a browser, on a page of another origin than the server's.
//
// Needs beyond the text, of every upload here: CORS. The browser asks by OPTIONS before each kind of request, with no tus
// header; and it shows the page only those headers of an answer that are exposed by name.
import assert from 'node:assert/strict';
import { MiB, assertGone, assertStored, head, sourceFile, until, untilTold } from '../support.mjs';
import { browserTest } from './browser.mjs';

/** What the browser asked leave for, as `METHOD: header,header`; all of it was granted, to any origin. */
function preflights(wire, visitor) {
  const asked = wire.sentOf('OPTIONS').map((r) => {
    assert.equal(r.sent('Origin'), new URL(visitor.origin).origin);
    assert.ok([200, 204].includes(r.status), `${r.status}`);
    return `${r.sent('Access-Control-Request-Method')}: ${r.sent('Access-Control-Request-Headers')}`;
  });
  return [...new Set(asked)].sort();
}

const tusRequests = (wire) => wire.requests.filter((r) => r.method !== 'OPTIONS');
const shape = (wire) => tusRequests(wire).map((r) => r.method).join(' ');

browserTest('Uppy: a file in chunks, with a request id on each', {}, async (server, wire, visitor) => {
  const source = await sourceFile(server, 5 * MiB + 3, 'Größe 名前.bin');
  await visitor.open(source.path, { endpoint: wire.endpoint, chunkSize: 2 * MiB, addRequestId: true });
  const url = await visitor.upload();
  assert.equal(shape(wire), 'POST PATCH PATCH PATCH');
  assert.ok(tusRequests(wire).every((r) => r.sent('X-Request-ID')));
  assert.deepEqual(preflights(wire, visitor), [
    'PATCH: content-type,tus-resumable,upload-offset,x-request-id',
    'POST: tus-resumable,upload-length,upload-metadata,x-request-id',
  ]);
  for (const answer of tusRequests(wire)) {
    assert.ok(['*', new URL(visitor.origin).origin].includes(answer.answer('Access-Control-Allow-Origin')));
    assert.match(answer.answer('Access-Control-Expose-Headers'), /\bUpload-Offset\b/i);
  }
  await assertStored(server, url, source.digest);
});

// Needs beyond the text: pause cuts the connection, and resume asks HEAD and sends PATCH at once, while the server may still
// be reading what was on its way: the newcomer takes the upload over.
browserTest('Uppy: pause and resume', {}, async (server, wire, visitor) => {
  const source = await sourceFile(server, 16 * MiB);
  await visitor.open(source.path, { endpoint: wire.endpoint });
  await visitor.throttle(MiB);
  const outcome = visitor.begin();
  const sent = await visitor.sent(1);
  assert.ok(sent < 16 * MiB, 'paused before the end');
  const { path } = await until('PATCH is sent', () => wire.sentOf('PATCH')[0]);
  await until('some of it has arrived', async () => (await head(server.at(path))).offset > 0);
  await visitor.ask('pauseAll');
  await visitor.ask('resumeAll');
  await until('a second PATCH is sent', () => wire.sentOf('PATCH').length > 1);
  await visitor.throttle(-1);
  const { urls, errors } = await outcome;
  assert.deepEqual(errors, []);
  assert.match(shape(wire), /^POST PATCH HEAD PATCH$/);
  assert.ok(wire.offsets[1] > 0, `resumed at ${wire.offsets}`);
  assert.deepEqual(preflights(wire, visitor).map((asked) => asked.split(':')[0]), ['HEAD', 'PATCH', 'POST']);
  await assertStored(server, urls[0], source.digest);
});

// Beyond the text: the bytes of a cut request count (it says SHOULD). The page finds the upload's URL in its storage.
browserTest('Uppy: the page is loaded again in mid-upload', {}, async (server, wire, visitor) => {
  const source = await sourceFile(server, 32 * MiB);
  const options = { endpoint: wire.endpoint };
  await visitor.open(source.path, options);
  const held = wire.hold(9 * MiB);
  visitor.begin().catch(() => {}); // ends with the page
  await held;
  const sent = await visitor.sent(1);
  assert.ok(sent < 32 * MiB, 'loaded again before the end');
  await untilTold(server.at(wire.sentOf('PATCH')[0].path), 9 * MiB);

  const before = wire.requests.length;
  await visitor.open(source.path, options);
  wire.cut();
  const url = await visitor.upload();
  const after = wire.requests.slice(before).filter((r) => r.method !== 'OPTIONS');
  assert.deepEqual(after.map((r) => r.method), ['HEAD', 'PATCH']);
  assert.equal(after[1].sent('Upload-Offset'), `${9 * MiB}`);
  await assertStored(server, url, source.digest);

  // The same file once more: a single HEAD tells that everything is there.
  wire.requests = [];
  await visitor.open(source.path, options);
  assert.equal(await visitor.upload(), url);
  assert.equal(shape(wire), 'HEAD');
});

// Needs beyond the text: DELETE must be allowed across origins, and work while the PATCH that it ends is torn down.
browserTest('Uppy: cancel terminates the upload', {}, async (server, wire, visitor) => {
  const source = await sourceFile(server, 32 * MiB);
  await visitor.open(source.path, { endpoint: wire.endpoint });
  const held = wire.hold(9 * MiB);
  const outcome = visitor.begin();
  await held;
  const { path } = wire.sentOf('PATCH')[0];
  await untilTold(server.at(path), 9 * MiB);
  await visitor.ask('cancelAll');
  await until('DELETE is answered', () => wire.sentOf('DELETE')[0]?.status);
  await outcome;
  wire.cut();
  assert.deepEqual(wire.sentOf('DELETE').map((r) => [r.path, r.status]), [[path, 204]]);
  assert.ok(preflights(wire, visitor).includes('DELETE: tus-resumable'));
  await assertGone(server, server.at(path));
});

// Needs beyond the text: Upload-Concat is allowed across origins; and parts of no bytes, for a file of none.
browserTest('Uppy: parallelUploads, and a file of no bytes', {}, async (server, wire, visitor) => {
  for (const [size, parallelUploads, expected] of [
    [8 * MiB + 5, 4, /^(POST|PATCH)( POST| PATCH){7} POST$/],
    [0, 4, /^POST POST POST POST POST$/],
    [0, 1, /^POST$/],
  ]) {
    wire.requests = [];
    const source = await sourceFile(server, size, `${size}-in-${parallelUploads}.bin`);
    await visitor.open(source.path, { endpoint: wire.endpoint, parallelUploads });
    const url = await visitor.upload();
    assert.match(shape(wire), expected);
    await assertStored(server, url, source.digest);
  }
});

// Needs beyond the text: the page may read errors too; otherwise all that Uppy sees of them is a lost network, and it
// tries again.
browserTest('Uppy: a refusal is told for what it is', { flags: ['--max-size', '1000'] }, async (server, wire, visitor) => {
  const source = await sourceFile(server, 1001);
  await visitor.open(source.path, { endpoint: wire.endpoint });
  const { errors } = await visitor.begin();
  assert.match(errors[0], /response code: 413, response text: .*"too-large"/);
  assert.equal(shape(wire), 'POST');
  const complaints = visitor.complaints.splice(0);
  assert.ok(complaints.length > 0 && complaints.every((text) => text.includes('413')), complaints.join('\n'));
});
