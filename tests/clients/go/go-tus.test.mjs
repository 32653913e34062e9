// github.com/eventials/go-tus, which the command line tools made for tusd use: see main.go.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MiB, ask, assertStored, clients, program, sourceFile, succeed, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const binary = join(clients, 'go', 'bin', 'go-tus');
const upload = async (...args) => (await succeed(binary, args)).trim();

// Needs beyond the text: the statuses exactly 201 and 204, where any other 2xx might be read as success.
wireTest('go-tus: whole files, a chunk of 2 MiB a PATCH', {}, async (server, wire) => {
  for (const size of [0, 1, 2 * MiB, 5 * MiB + 3]) {
    wire.requests = [];
    const source = await sourceFile(server, size);
    const url = await upload(wire.endpoint, source.path);
    assert.equal(wire.shape, ['POST', ...Array(Math.ceil(size / (2 * MiB))).fill('PATCH')].join(' '));
    await assertStored(server, url, source.digest);
  }
});

// Needs beyond the text (which has the header, but as an option): POST that stands for PATCH.
wireTest('go-tus: OverridePatchMethod', {}, async (server, wire) => {
  const source = await sourceFile(server, 3 * MiB);
  const url = await upload('-override-patch-method', wire.endpoint, source.path);
  assert.equal(wire.shape, 'POST POST POST');
  await assertStored(server, url, source.digest);
});

// Needs beyond the text: HEAD is 200 exactly, and the bytes of a cut request count, which the text only recommends.
wireTest('go-tus: killed in mid-body, resumed from its store', {}, async (server, wire) => {
  const source = await sourceFile(server, 9 * MiB);
  const sent = 4 * MiB + 12_345;
  const args = ['-store', join(server.home, 'store'), wire.endpoint, source.path];
  const held = wire.hold(sent);
  const first = program(binary, args);
  await held;
  await untilTold(server.at(wire.sentOf('PATCH')[0].path), sent);
  await first.kill();
  wire.cut();

  wire.requests = [];
  const url = await upload(...args);
  assert.match(wire.shape, /^HEAD( PATCH)+$/);
  assert.equal(wire.offsets[0], sent);
  await assertStored(server, url, source.digest);

  // Once more: all is there, and one HEAD tells it.
  wire.requests = [];
  assert.equal(await upload(...args), url);
  assert.equal(wire.shape, 'HEAD');
});

// Needs beyond the text: HEAD of an upload that is no more is 403, 404 or 410; the tool begins anew then.
wireTest('go-tus: a stored URL whose upload was deleted', {}, async (server, wire) => {
  const source = await sourceFile(server, 100_000);
  const args = ['-store', join(server.home, 'store'), wire.endpoint, source.path];
  const gone = await upload(...args);
  assert.equal((await ask('DELETE', gone)).status, 204);
  wire.requests = [];
  const url = await upload(...args);
  assert.equal(wire.shape, 'HEAD POST PATCH');
  assert.notEqual(url, gone);
  await assertStored(server, url, source.digest);
});
