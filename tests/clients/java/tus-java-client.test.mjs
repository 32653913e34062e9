// tus-java-client 0.5.1, from the JDK's own HTTP client: see Upload.java.
//
// Needs beyond the text, of every upload here: that HTTP client knows no PATCH, so each is a POST with
// X-HTTP-Method-Override; and each is chunked with `Expect: 100-continue`, where a final answer that comes without a
// `100 Continue` before it is taken for a refusal.
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { MiB, assertStored, clients, program, sourceFile, succeed, until, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const home = join(clients, 'java', 'target');
const command = (...args) => ['-cp', `${join(home, 'classes')}:${join(home, 'library')}/*`, 'Upload', ...args];
const upload = async (...args) => (await succeed('java', command(...args))).trim();

/** What the client sends in place of PATCH, in order. */
function patches(wire) {
  const found = wire.sentOf('POST').filter((r) => r.sent('X-HTTP-Method-Override') === 'PATCH');
  for (const patch of found) {
    assert.equal(patch.sent('Expect'), '100-continue');
    assert.equal(patch.sent('Transfer-Encoding'), 'chunked');
  }
  return found;
}

// Needs beyond the text: where the size is a whole multiple of the request's size, 10 MiB unless told otherwise, and where
// it is 0, the loop of the README ends with a PATCH of no bytes at the upload's end. It is a 204, after a 100 as well.
for (const [size, bodies] of [
  [0, [0]],
  [20 * MiB, [10 * MiB, 10 * MiB, 0]],
  [20 * MiB + 17, [10 * MiB, 10 * MiB, 17]],
]) {
  wireTest(`tus-java-client: the README's loop with ${size} bytes`, {}, async (server, wire) => {
    const source = await sourceFile(server, size);
    const url = await upload(wire.endpoint, source.path);
    const sent = patches(wire);
    assert.equal(wire.requests.length, sent.length + 1, `one creation: ${wire.shape}`);
    assert.deepEqual(sent.map((r) => r.body), bodies);
    assert.deepEqual(sent.map((r) => [r.continued, r.status]), bodies.map(() => [true, 204]));
    await assertStored(server, url, source.digest);
  });
}

/**
 * Runs the program until its second request is held at `sent` bytes of the file, and all of them have arrived. HEAD tells
 * nothing of a chunked body that still runs, since it might end with a checksum; the file's length does.
 */
async function runUntil(server, wire, path, sent) {
  const held = wire.hold(sent);
  const running = program('java', command(wire.endpoint, path));
  await held;
  const stored = server.stored(server.at(patches(wire)[0].path));
  await until(`${sent} bytes are stored`, async () => (await stat(stored)).size === sent);
  return running;
}

// Beyond the text: the bytes of a cut request count (it says SHOULD), of a chunked one too.
wireTest('tus-java-client: cut in mid-body, its executor resumes', {}, async (server, wire) => {
  const source = await sourceFile(server, 25 * MiB);
  const sent = 14 * MiB + 12_345;
  const running = await runUntil(server, wire, source.path, sent);
  const path = patches(wire)[0].path;
  wire.cut(untilTold(server.at(path), sent));
  const { code, out, err } = await running.ended();
  assert.equal(code, 0, err);
  assert.equal(wire.sentOf('HEAD').length, 1);
  assert.deepEqual(wire.offsets, [0, 10 * MiB, sent, sent + 10 * MiB]);
  await assertStored(server, out.trim(), source.digest);
});

wireTest('tus-java-client: killed in mid-body, resumed by URL', {}, async (server, wire) => {
  const source = await sourceFile(server, 25 * MiB);
  const sent = 14 * MiB + 12_345;
  const running = await runUntil(server, wire, source.path, sent);
  await running.kill();
  const { path } = patches(wire)[0];
  wire.cut(untilTold(server.at(path), sent));

  wire.requests = [];
  const url = new URL(path, wire.endpoint).href;
  assert.equal(await upload(wire.endpoint, source.path, url), url);
  assert.equal(wire.requests[0].method, 'HEAD');
  assert.deepEqual(wire.offsets, [sent, sent + 10 * MiB]);
  await assertStored(server, url, source.digest);
});

// Needs beyond the text: a client whose network changed comes back while its old request still hangs, and takes what HEAD
// tells for the offset; to this one a 409 is the end of the upload. HEAD does not tell what a chunked body brought so far,
// so that must give way to the PATCH at the told offset.
wireTest('tus-java-client: back from another network, beside its own hanging request', {}, async (server, wire) => {
  const source = await sourceFile(server, 25 * MiB);
  const running = await runUntil(server, wire, source.path, 14 * MiB);
  await running.kill(); // the wire still holds its connection to the server
  const url = server.at(patches(wire)[0].path);
  assert.equal(await upload(server.endpoint, source.path, url), url);
  await assertStored(server, url, source.digest);
});
