// tuspy 1.1.0, the Python library of the tus project.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MiB, assertStored, clients, head, program, sourceFile, succeed, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const python = join(clients, 'python', '.venv', 'bin', 'python');
const command = (endpoint, path, options = {}) => [
  join(clients, 'python', 'upload_tuspy.py'),
  endpoint,
  path,
  JSON.stringify(options),
];
const upload = async (...args) => (await succeed(python, command(...args))).trim();

// Needs beyond the text: an Upload-Metadata header without a value, which it sends where there is none.
wireTest('tuspy: whole files and no metadata', {}, async (server, wire) => {
  for (const size of [0, 1, 3 * MiB]) {
    wire.requests = [];
    const source = await sourceFile(server, size);
    const url = await upload(wire.endpoint, source.path);
    assert.equal(wire.shape, size > 0 ? 'POST PATCH' : 'POST');
    assert.equal(wire.requests[0].sent('Upload-Metadata'), '');
    await assertStored(server, url, source.digest);
  }
});

wireTest('tuspy: chunks, each with its checksum', {}, async (server, wire) => {
  const source = await sourceFile(server, 3 * MiB + 17);
  const metadata = { filename: 'Größe 名前.bin', empty: '' };
  const url = await upload(wire.endpoint, source.path, { chunk_size: MiB, upload_checksum: true, metadata });
  assert.deepEqual(wire.offsets, [0, MiB, 2 * MiB, 3 * MiB]);
  for (const patch of wire.sentOf('PATCH')) assert.match(patch.sent('Upload-Checksum'), /^sha1 \S{28}$/);
  assert.equal((await head(url)).headers['upload-metadata'], wire.requests[0].sent('Upload-Metadata'));
  await assertStored(server, url, source.digest);
});

// Beyond the text: the bytes of a cut request count (it says SHOULD). Under a checksum nothing of a cut request can count:
// the upload goes on at the last whole chunk.
for (const [how, checksummed] of [
  ['without', false],
  ['with', true],
]) {
  wireTest(`tuspy: cut in mid-body ${how} checksums, resumed by URL`, {}, async (server, wire) => {
    const source = await sourceFile(server, 8 * MiB);
    const options = { chunk_size: 2 * MiB, upload_checksum: checksummed };
    const held = wire.hold(5 * MiB);
    const first = program(python, command(wire.endpoint, source.path, options));
    await held;
    const { path } = wire.sentOf('PATCH')[0];
    const resumed = checksummed ? 4 * MiB : 5 * MiB;
    await untilTold(server.at(path), resumed);
    wire.cut();
    const { code, err } = await first.ended();
    assert.equal(code, 1);
    assert.match(err, /TusUploadFailed/);

    wire.requests = [];
    const url = new URL(path, wire.endpoint).href;
    assert.equal(await upload(wire.endpoint, source.path, { ...options, url }), url);
    assert.match(wire.shape, /^HEAD( PATCH)+$/);
    assert.equal(wire.offsets[0], resumed);
    await assertStored(server, url, source.digest);
  });
}

wireTest('tuspy: killed in mid-body, resumed from its store', {}, async (server, wire) => {
  const source = await sourceFile(server, 8 * MiB);
  const options = { store: join(server.home, 'urls.json') };
  const held = wire.hold(3 * MiB);
  const first = program(python, command(wire.endpoint, source.path, options));
  await held;
  await untilTold(server.at(wire.sentOf('PATCH')[0].path), 3 * MiB);
  await first.kill();
  wire.cut();

  wire.requests = [];
  const url = await upload(wire.endpoint, source.path, options);
  assert.equal(wire.shape, 'HEAD PATCH');
  assert.deepEqual(wire.offsets, [3 * MiB]);
  await assertStored(server, url, source.digest);
});
