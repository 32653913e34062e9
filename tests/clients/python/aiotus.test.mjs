// aiotus 1.1.0, a Python library with a command line.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MiB, assertStored, clients, digest, head, program, sourceFile, succeed, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const python = join(clients, 'python', '.venv', 'bin', 'python');
const aiotus = ['-m', 'aiotus'];

// Needs beyond the text: the creation's status is 201 exactly, and its Location absolute, since it does not resolve
// a relative one. Keys without a value are fine.
wireTest('aiotus: whole files, and their metadata read back', {}, async (server, wire) => {
  for (const size of [0, 9 * MiB + 1]) {
    wire.requests = [];
    const source = await sourceFile(server, size, 'Größe.bin');
    const args = [...aiotus, 'upload', '--metadata', 'alone', '--metadata', 'k=v', wire.endpoint, source.path];
    const url = (await succeed(python, args)).trim();
    assert.equal(wire.shape, size > 0 ? 'POST HEAD PATCH PATCH PATCH' : 'POST HEAD');
    await assertStored(server, url, source.digest);
    const told = await succeed(python, [...aiotus, 'metadata', url]);
    assert.match(told, /^alone$/m);
    assert.match(told, /^k: v$/m);
    assert.match(told, /^filename: Gr\\xc3\\xb6\\xc3\\x9fe\.bin$/m);
  }
});

// Beyond the text: the bytes of a cut request count (it says SHOULD).
wireTest('aiotus: cut in mid-body, it resumes by itself', {}, async (server, wire) => {
  const source = await sourceFile(server, 9 * MiB);
  const held = wire.hold(6 * MiB);
  const running = program(python, [...aiotus, 'upload', wire.endpoint, source.path]);
  await held;
  await untilTold(server.at(wire.sentOf('PATCH')[0].path), 6 * MiB);
  wire.cut();
  const { code, out, err } = await running.ended();
  assert.equal(code, 0, err);
  assert.equal(wire.sentOf('POST').length, 1);
  assert.deepEqual(wire.offsets, [0, 4 * MiB, 6 * MiB]);
  await assertStored(server, out.trim(), source.digest);
});

// Needs beyond the text: `Upload-Concat: partial` on PATCH and HEAD too, to be ignored there; parts named by absolute
// paths; and metadata values that are not text.
wireTest('aiotus: files joined by concatenation', {}, async (server, wire) => {
  const sources = [];
  for (const size of [3 * MiB, 0, 5 * MiB + 7]) sources.push(await sourceFile(server, size, `part-${size}`));
  const paths = sources.map((source) => source.path);
  const url = (await succeed(python, [join(clients, 'python', 'join_aiotus.py'), wire.endpoint, ...paths])).trim();
  assert.equal(wire.requests[0].method, 'OPTIONS');
  assert.ok(wire.sentOf('PATCH').every((r) => r.sent('Upload-Concat') === 'partial'));
  const final = wire.sentOf('POST').at(-1);
  assert.match(final.sent('Upload-Concat'), /^final;\/files\/\S+ \/files\/\S+ \/files\/\S+$/);
  assert.equal((await head(url)).headers['upload-metadata'], final.sent('Upload-Metadata'));
  await assertStored(server, url, digest(Buffer.concat(sources.map((source) => source.bytes))));
});
