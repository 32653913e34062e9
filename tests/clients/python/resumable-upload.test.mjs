// The command line of the resumable-upload package, 0.3.0.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { MiB, assertStored, clients, digestFile, program, sourceFile, succeed, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const tool = join(clients, 'python', '.venv', 'bin', 'resumable-upload');
const upload = async (args, options) => (await succeed(tool, ['upload', ...args], options)).trim();

// Needs beyond the text: the endpoint answers without its last slash.
wireTest('resumable-upload: whole files, with info and download', {}, async (server, wire) => {
  for (const size of [0, 9 * MiB + 1]) {
    wire.requests = [];
    const source = await sourceFile(server, size, 'Größe 名前.bin');
    const url = await upload([source.path, '--url', wire.endpoint, '--metadata', 'k=v']);
    assert.equal(wire.requests[0].path, '/files');
    assert.equal(wire.shape, size > 0 ? 'POST HEAD PATCH PATCH PATCH' : 'POST HEAD');
    await assertStored(server, url, source.digest);

    const told = await succeed(tool, ['info', url]);
    assert.match(told, new RegExp(`^offset: +${size}\nlength: +${size}\ncomplete: True\n`));
    assert.match(told, /^ {2}filename: Größe 名前\.bin$/m);
    const copy = join(server.home, 'copy');
    await succeed(tool, ['download', url, '-o', copy]);
    assert.deepEqual(await digestFile(copy), source.digest);
  }
});

wireTest('resumable-upload: every checksum algorithm', {}, async (server, wire) => {
  const source = await sourceFile(server, 2 * MiB + 1);
  for (const algorithm of ['sha1', 'sha256', 'sha512', 'md5', 'none']) {
    wire.requests = [];
    const url = await upload([source.path, '--url', wire.endpoint, '--checksum', algorithm, '--chunk-size', `${MiB}`]);
    const patches = wire.sentOf('PATCH');
    assert.equal(patches.length, 3);
    for (const patch of patches) assert.equal(patch.sent('Upload-Checksum')?.split(' ')[0] ?? 'none', algorithm);
    await assertStored(server, url, source.digest);
  }
});

// Needs beyond the text (which has the header, but as an option): POST that stands for PATCH. And X-Request-ID.
wireTest('resumable-upload: method override and request ids', {}, async (server, wire) => {
  const source = await sourceFile(server, 5 * MiB);
  const args = [source.path, '--url', wire.endpoint, '--override-patch-method', '--request-id'];
  const url = await upload(args);
  assert.equal(wire.shape, 'POST HEAD POST POST');
  assert.equal(new Set(wire.requests.map((r) => r.sent('X-Request-ID'))).size, 4);
  await assertStored(server, url, source.digest);
});

// Beyond the text: the bytes of a cut request count (it says SHOULD). Under a checksum, which is the tool's default,
// nothing of a cut request can count: the upload goes on at the last whole chunk.
for (const [checksum, resumed] of [
  ['sha1', 4 * MiB],
  ['none', 5 * MiB],
]) {
  wireTest(`resumable-upload: killed in mid-body, --resume (--checksum ${checksum})`, {}, async (server, wire) => {
    const source = await sourceFile(server, 9 * MiB);
    const args = [source.path, '--url', wire.endpoint, '--resume', '--checksum', checksum, '--chunk-size', `${2 * MiB}`];
    const here = { cwd: server.home };
    const held = wire.hold(5 * MiB);
    const first = program(tool, ['upload', ...args], here);
    await held;
    await untilTold(server.at(wire.sentOf('PATCH')[0].path), resumed);
    await first.kill();
    wire.cut();

    wire.requests = [];
    const url = await upload(args, here);
    assert.match(wire.shape, /^HEAD( PATCH)+$/);
    assert.equal(wire.offsets[0], resumed);
    await assertStored(server, url, source.digest);
  });
}

// Needs beyond the text: a PATCH repeated at an offset that is no longer right is answered 409, and nothing else, so that
// the tool asks HEAD and goes on.
wireTest('resumable-upload: the connection is cut, it resumes by itself', {}, async (server, wire) => {
  const source = await sourceFile(server, 9 * MiB);
  const held = wire.hold(5 * MiB);
  const args = ['upload', source.path, '--url', wire.endpoint, '--checksum', 'none', '--retry-delay', '0.1'];
  const running = program(tool, args);
  await held;
  await untilTold(server.at(wire.sentOf('PATCH')[0].path), 5 * MiB);
  wire.cut();
  const { code, out, err } = await running.ended();
  assert.equal(code, 0, err);
  assert.deepEqual(wire.offsets, [0, 4 * MiB, 4 * MiB, 5 * MiB]);
  assert.equal(wire.sentOf('PATCH')[2].status, 409);
  await assertStored(server, out.trim(), source.digest);
});

wireTest('resumable-upload: in parallel, killed and resumed part by part', {}, async (server, wire) => {
  const source = await sourceFile(server, 16 * MiB + 5);
  const args = [source.path, '--url', wire.endpoint, '--parallel', '4', '--resume', '--chunk-size', `${MiB}`];
  const here = { cwd: server.home };
  const held = wire.hold(9 * MiB + 99);
  const first = program(tool, ['upload', ...args], here);
  await held;
  await first.kill();
  wire.cut();

  wire.requests = [];
  const url = await upload(args, here);
  // One HEAD a part, and the only thing created is the final upload.
  assert.equal(wire.sentOf('HEAD').length, 4);
  assert.deepEqual(wire.sentOf('POST').map((r) => r.sent('Upload-Concat').split(/[; ]/).length), [5]);
  assert.ok(Math.max(...wire.offsets) > 0, `resumed at ${wire.offsets}`);
  await assertStored(server, url, source.digest);
});
