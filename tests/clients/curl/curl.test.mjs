// curl, with the requests that the text of tus 1.0 shows as examples: `curl -i`, a -H for each of their lines, and the
// `[remaining bytes]` from standard input. Beyond the text it needs nothing.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { MiB, assertGone, assertStored, digest, program, succeed, until, untilTold } from '../support.mjs';
import { wireTest } from '../wire.mjs';

const HELLO = Buffer.from('hello world');

/** What curl is called with for a request that is written as in the text, but for its host. */
function args(endpoint, request, body) {
  const [first, ...headers] = request.trim().split('\n').map((line) => line.trim());
  const [method, path] = first.split(' ');
  const how = method === 'HEAD' ? ['--head'] : ['--include', '--request', method];
  const data = body ? ['--data-binary', '@-'] : [];
  return ['-sS', ...how, ...headers.flatMap((line) => ['-H', line]), ...data, new URL(path, endpoint).href];
}

/** The final answer in what curl prints: its status, and its headers by name in small letters. */
function answered(printed) {
  const heads = printed.split('\r\n\r\n').filter((head) => /^HTTP\/1\.1 [2-5]/.test(head));
  assert.equal(heads.length, 1, printed);
  const [status, ...lines] = heads[0].split('\r\n');
  const headers = Object.fromEntries(lines.map((line) => line.split(/: ?(.*)/s)).map(([k, v]) => [k.toLowerCase(), v]));
  return { status: Number(status.split(' ')[1]), headers, continued: printed.startsWith('HTTP/1.1 100') };
}

const curl = async (endpoint, request, body) =>
  answered(await succeed('curl', args(endpoint, request, body), { input: body }));

/** Creates an upload as the text does, and gives its path. */
async function created(endpoint, lines) {
  const answer = await curl(endpoint, `POST /files\nTus-Resumable: 1.0.0\nContent-Length: 0\n${lines}`);
  assert.equal(answer.status, 201);
  assert.equal(answer.headers['tus-resumable'], '1.0.0');
  return new URL(answer.headers.location).pathname;
}

const patch = (path, offset, body, more = '') => `
  PATCH ${path}
  Tus-Resumable: 1.0.0
  Content-Type: application/offset+octet-stream
  Content-Length: ${body.length}
  Upload-Offset: ${offset}${more}`;

const headOf = (path) => `HEAD ${path}\nTus-Resumable: 1.0.0`;

wireTest('curl: OPTIONS', {}, async (server, wire) => {
  const told = await curl(wire.endpoint, 'OPTIONS /files');
  assert.ok([200, 204].includes(told.status));
  assert.equal(told.headers['tus-version'], '1.0.0');
  for (const extension of ['creation', 'expiration', 'checksum', 'termination', 'concatenation']) {
    assert.ok(told.headers['tus-extension'].split(',').includes(extension), extension);
  }
});

// The first example: 100 bytes, of which 70 have arrived.
wireTest('curl: creation, HEAD at 70, PATCH of the remaining 30 bytes', {}, async (server, wire) => {
  const bytes = randomBytes(100);
  const metadata = 'filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential';
  const path = await created(wire.endpoint, `Upload-Length: 100\nUpload-Metadata: ${metadata}`);
  assert.equal((await curl(wire.endpoint, patch(path, 0, bytes.subarray(0, 70)), bytes.subarray(0, 70))).status, 204);

  const told = await curl(wire.endpoint, headOf(path));
  assert.equal(told.status, 200);
  assert.equal(told.headers['upload-offset'], '70');
  assert.equal(told.headers['upload-length'], '100');
  assert.equal(told.headers['upload-metadata'], metadata);
  assert.equal(told.headers['cache-control'], 'no-store');

  const done = await curl(wire.endpoint, patch(path, 70, bytes.subarray(70)), bytes.subarray(70));
  assert.deepEqual([done.status, done.headers['upload-offset']], [204, '100']);
  await assertStored(server, server.at(path), digest(bytes));
});

wireTest('curl: creation with upload', {}, async (server, wire) => {
  const request = `
    POST /files
    Tus-Resumable: 1.0.0
    Content-Length: 5
    Upload-Length: 11
    Content-Type: application/offset+octet-stream`;
  const answer = await curl(wire.endpoint, request, HELLO.subarray(0, 5));
  assert.deepEqual([answer.status, answer.headers['upload-offset']], [201, '5']);
  const { pathname } = new URL(answer.headers.location);
  assert.equal((await curl(wire.endpoint, patch(pathname, 5, HELLO.subarray(5)), HELLO.subarray(5))).status, 204);
  await assertStored(server, server.at(pathname), digest(HELLO));
});

wireTest('curl: deferred length', {}, async (server, wire) => {
  const path = await created(wire.endpoint, 'Upload-Defer-Length: 1');
  assert.equal((await curl(wire.endpoint, headOf(path))).headers['upload-defer-length'], '1');
  const done = await curl(wire.endpoint, patch(path, 0, HELLO, '\nUpload-Length: 11'), HELLO);
  assert.deepEqual([done.status, done.headers['upload-offset']], [204, '11']);
  await assertStored(server, server.at(path), digest(HELLO));
});

wireTest('curl: checksum', {}, async (server, wire) => {
  const path = await created(wire.endpoint, 'Upload-Length: 11');
  const sum = '\nUpload-Checksum: sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=';
  const wrong = Buffer.from('hello w0rld');
  assert.equal((await curl(wire.endpoint, patch(path, 0, wrong, sum), wrong)).status, 460);
  assert.equal((await curl(wire.endpoint, headOf(path))).headers['upload-offset'], '0', 'nothing of it was kept');
  const done = await curl(wire.endpoint, patch(path, 0, HELLO, sum), HELLO);
  assert.deepEqual([done.status, done.headers['upload-offset']], [204, '11']);
  await assertStored(server, server.at(path), digest(HELLO));
});

wireTest('curl: termination', {}, async (server, wire) => {
  const path = await created(wire.endpoint, 'Upload-Length: 11');
  const request = `DELETE ${path}\nContent-Length: 0\nTus-Resumable: 1.0.0`;
  assert.equal((await curl(wire.endpoint, request)).status, 204);
  assert.ok([404, 410].includes((await curl(wire.endpoint, headOf(path))).status));
  await assertGone(server, server.at(path));
});

wireTest('curl: concatenation', {}, async (server, wire) => {
  const a = await created(wire.endpoint, 'Upload-Concat: partial\nUpload-Length: 5');
  const b = await created(wire.endpoint, 'Upload-Concat: partial\nUpload-Length: 6');
  assert.equal((await curl(wire.endpoint, patch(a, 0, HELLO.subarray(0, 5)), HELLO.subarray(0, 5))).status, 204);
  assert.equal((await curl(wire.endpoint, patch(b, 0, HELLO.subarray(5)), HELLO.subarray(5))).status, 204);
  assert.equal((await curl(wire.endpoint, headOf(b))).headers['upload-concat'], 'partial');

  const ab = await created(wire.endpoint, `Upload-Concat: final;${a} ${b}`);
  const told = await curl(wire.endpoint, headOf(ab));
  assert.equal(told.headers['upload-length'], '11');
  assert.equal(told.headers['upload-concat'], `final;${a} ${b}`);
  await assertStored(server, server.at(ab), digest(HELLO));
});

// `curl -T -` sends what it reads chunked, and waits a second for a `100 Continue`, which the server sends at once.
const upload = (endpoint, path, offset) => {
  const headers = ['Tus-Resumable: 1.0.0', 'Content-Type: application/offset+octet-stream', 'Expect: 100-continue'];
  const fields = [...headers, `Upload-Offset: ${offset}`].flatMap((line) => ['-H', line]);
  return ['-sS', '--include', '--request', 'PATCH', ...fields, '-T', '-', new URL(path, endpoint).href];
};

wireTest('curl -T -: from standard input, chunked, with Expect', {}, async (server, wire) => {
  const bytes = randomBytes(3 * MiB + 5);
  const path = await created(wire.endpoint, `Upload-Length: ${bytes.length}`);
  const done = answered(await succeed('curl', upload(wire.endpoint, path, 0), { input: bytes }));
  assert.deepEqual([done.continued, done.status, done.headers['upload-offset']], [true, 204, `${bytes.length}`]);
  assert.equal(wire.sentOf('PATCH')[0].sent('Transfer-Encoding'), 'chunked');
  await assertStored(server, server.at(path), digest(bytes));
});

// Beyond the text: the bytes of a cut request count (it says SHOULD), also where the body is chunked: of that one HEAD
// tells nothing as long as it runs, since it might end with a checksum.
for (const chunked of [false, true]) {
  wireTest(`curl: killed in mid-body, resumed from what HEAD tells (chunked: ${chunked})`, {}, async (server, wire) => {
    const bytes = randomBytes(8 * MiB);
    const sent = 3 * MiB + 12_345;
    const path = await created(wire.endpoint, `Upload-Length: ${bytes.length}`);
    const how = (offset) => {
      const rest = bytes.subarray(offset);
      const given = chunked ? upload(wire.endpoint, path, offset) : args(wire.endpoint, patch(path, offset, rest), rest);
      return program('curl', given, { input: rest });
    };
    const held = wire.hold(sent);
    const first = how(0);
    await held;
    const stored = server.stored(server.at(path));
    if (chunked) await until('it is stored', async () => (await stat(stored)).size === sent);
    else await untilTold(server.at(path), sent);
    await first.kill();
    wire.cut();
    await untilTold(server.at(path), sent);

    const told = Number((await curl(wire.endpoint, headOf(path))).headers['upload-offset']);
    assert.equal(told, sent);
    const { out } = await how(told).ended();
    assert.deepEqual([answered(out).status, answered(out).headers['upload-offset']], [204, `${bytes.length}`]);
    await assertStored(server, server.at(path), digest(bytes));
  });
}
