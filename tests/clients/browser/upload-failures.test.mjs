// The upload page when things go wrong: each failure in words with what to do, and a way on from it.
import assert from 'node:assert/strict';
import { appendFile, readFile } from 'node:fs/promises';
import { MiB, digest, sourceFile, until } from '../support.mjs';
import { assertStored, visitTest } from './visit.mjs';

/** An answer as the server gives it. */
function problem(status, code, headers = {}) {
  const body = JSON.stringify({ type: 'about:blank', title: '', status, code, detail: `in the words of ${code}` });
  return { status, headers: { 'Content-Type': 'application/problem+json', ...headers }, body };
}

/** Answers some chunks in the server's place: `choose(number of the request, from 1)` gives the answer, or nothing. */
async function intercept(visitor, pattern, choose) {
  let count = 0;
  await visitor.tab.route(pattern, async (route) => {
    count += 1;
    const answer = choose(count, route.request());
    if (answer) await route.fulfill(answer);
    else await route.fallback();
  });
}
/** A chunk whole, or a part of one. */
const CHUNKS = /\/(uploads\/[^/]+\/chunks|files\/[^/]+)\/\d+$/;

visitTest('too large', { flags: ['--max-size', '100000'] }, async (server, visitor) => {
  const source = await sourceFile(server, 100_001);
  assert.match(await visitor.tab.locator('#limit').textContent(), /Up to 100 kB a file/);
  await visitor.choose(source.path);
  await visitor.shows('source.bin', 'The file is too large');
  await visitor.shows('source.bin', 'too-large · 413');
  await visitor.shot('failed');
  assert.match(await visitor.said(), /source\.bin: The file is too large\. This server does not take files of that size/);
  await visitor.press('Remove from list', 'source.bin');
  assert.equal(await visitor.tab.getByRole('listitem').count(), 0);
  await assertStored(server);
});

visitTest('no space for new files', { flags: ['--disk-stop', '100%'] }, async (server, visitor) => {
  await until('the server has looked at its disk', async () => (await fetch(`${visitor.origin}/readyz`)).status === 503);
  const source = await sourceFile(server, 1000);
  await visitor.choose(source.path);
  await visitor.shows('source.bin', 'The server has no space left for new files');
  await visitor.shows('source.bin', 'disk-low · 507');
  await visitor.shows('source.bin', 'Failed');
});

visitTest('the disk is full in mid-upload, and then is not', {}, async (server, visitor) => {
  const source = await sourceFile(server, 6 * MiB);
  let full = true;
  await intercept(visitor, CHUNKS, (count) => full && count > 3 && problem(507, 'out-of-space'));
  await visitor.choose(source.path);
  await visitor.shows('source.bin', 'The disk of the server is full');
  await visitor.shows('source.bin', 'press Retry to go on');
  full = false;
  const before = visitor.requests.length;
  await visitor.press('Retry', 'source.bin');
  await visitor.done('source.bin');
  assert.ok(visitor.sentChunks(before).length < 6, 'what was stored is not sent again');
  await assertStored(server, source);
});

visitTest('a chunk arrives damaged once, and always', {}, async (server, visitor) => {
  const source = await sourceFile(server, 3 * MiB);
  let damaged = 1;
  const wrong = { 'x-chunk-sha256': '0'.repeat(64), 'upload-checksum': `sha256 ${Buffer.alloc(32).toString('base64')}` };
  await visitor.tab.route(/\/(chunks|files\/[^/]+)\/2$/, (route) => {
    damaged -= 1;
    if (damaged < 0) return route.fallback();
    const headers = route.request().headers();
    for (const name of Object.keys(wrong)) if (name in headers) headers[name] = wrong[name];
    return route.continue({ headers });
  });
  const refused = [];
  visitor.tab.on('response', (response) => response.status() === 460 && refused.push(response.url()));
  await visitor.choose(source.path);
  await visitor.done('source.bin');
  assert.equal(refused.length, 1, 'the server found the wrong hash');
  await assertStored(server, source);

  damaged = Infinity;
  await visitor.choose((await sourceFile(server, 3 * MiB, 'other.bin')).path);
  await visitor.shows('other.bin', 'checksum-mismatch · 460');
  await visitor.shows('other.bin', 'A part arrived damaged');
  assert.equal(refused.length, 4, 'three tries, and no endless loop');
});

visitTest('429 is waited for as long as it says', {}, async (server, visitor) => {
  const source = await sourceFile(server, 2 * MiB);
  const times = [];
  await intercept(visitor, CHUNKS, (count) => {
    times.push(Date.now());
    // Both chunks at once, and then one of them again.
    return count <= 2 && problem(429, 'too-many-waiting', { 'Retry-After': '3' });
  });
  await visitor.choose(source.path);
  await visitor.shows('source.bin', 'The server is busy with other parts of this file');
  await visitor.done('source.bin');
  assert.ok(times[2] - times[1] >= 2900, `again after ${times[2] - times[1]} ms`);
  await assertStored(server, source);
});

visitTest('the session expires', { flags: ['--expire-after', '3s'] }, async (server, visitor) => {
  const source = await sourceFile(server, 6 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 2);
  await visitor.press('Pause', 'source.bin');
  const [key] = await visitor.kept();
  const { id, token } = await visitor.tab.evaluate((key) => JSON.parse(localStorage.getItem(key)), key);
  const headers = { Authorization: `Bearer ${token}` };
  await until('it has expired', async () => {
    const { status } = await fetch(`${visitor.origin}/uploads/${id}/resume`, { headers });
    return status === 410 || status === 404;
  });
  await visitor.throttle(-1);
  // The server may have told so by itself; else it is found out on the way.
  if (await visitor.button('Resume', 'source.bin').isVisible()) await visitor.press('Resume', 'source.bin').catch(() => {});
  await visitor.shows('source.bin', /has expired|does not know this upload any more/);
  await visitor.shot('expired');
  assert.deepEqual(await visitor.kept(), []);
  await visitor.press('Retry', 'source.bin');
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('an upload of an earlier visit has expired', {}, async (server, visitor) => {
  const source = await sourceFile(server, 6 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 1);
  const kept = await visitor.tab.evaluate(() => JSON.parse(Object.values(localStorage)[0]));
  await visitor.tab.reload();
  await visitor.shows('source.bin', 'Choose this file again');
  const headers = { Authorization: `Bearer ${kept.token}` };
  assert.equal((await fetch(`${kept.endpoint}${kept.id}`, { method: 'DELETE', headers })).status, 204);
  await visitor.throttle(-1);
  await visitor.chooseAgain('source.bin', source.path);
  await visitor.done('source.bin');
  await assertStored(server, source);
  assert.deepEqual(await visitor.kept(), []);
});

visitTest('cancelled by an operator', {}, async (server, visitor) => {
  const source = await sourceFile(server, 6 * MiB);
  await visitor.throttle(MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 1);
  const [key] = await visitor.kept();
  const id = key.split(':')[1];
  assert.equal((await fetch(`${visitor.origin}/admin/uploads/${id}/cancel`, { method: 'POST' })).status, 200);
  await visitor.shows('source.bin', /was cancelled on the server|does not know this upload any more/);
  await visitor.shows('source.bin', 'Failed');
  await visitor.throttle(-1);
  await visitor.press('Retry', 'source.bin');
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('the server stays away', {}, async (server, visitor) => {
  const source = await sourceFile(server, 2 * MiB);
  let there = false;
  await visitor.tab.route(/\/uploads\//, (route) => (there ? route.fallback() : route.abort('connectionrefused')));
  await visitor.choose(source.path);
  for (let round = 0; round < 8; round += 1) {
    await visitor.shows('source.bin', 'The server cannot be reached');
    // As a person who does not want to wait.
    await visitor.press('Try now', 'source.bin');
  }
  await visitor.shows('source.bin', 'Failed');
  await visitor.shows('source.bin', 'It was tried several times in vain');
  there = true;
  await visitor.press('Retry', 'source.bin');
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('the file changes while it is uploaded', {}, async (server, visitor) => {
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 1);
  await visitor.press('Pause', 'source.bin');
  await visitor.shows('source.bin', 'Paused');
  await appendFile(source.path, 'more');
  // Still slow: what was cut just now must not be sent to its end by the browser before it hears of the cut.
  await visitor.press('Resume', 'source.bin');
  await visitor.shows('source.bin', 'The file cannot be read');
  await visitor.shot('unreadable');
  await visitor.throttle(-1);
  // As it is now it is another file, and goes up from its beginning.
  await visitor.chooseAgain('source.bin', source.path);
  await visitor.done('source.bin');
  await assertStored(server, { digest: digest(await readFile(source.path)) });
  assert.deepEqual(await visitor.kept(), []);
});

visitTest('another file is chosen for an unfinished upload', {}, async (server, visitor) => {
  const source = await sourceFile(server, 6 * MiB);
  const other = await sourceFile(server, 6 * MiB, 'other.bin');
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 1);
  await visitor.tab.reload();
  await visitor.chooseAgain('source.bin', other.path);
  await visitor.shows('source.bin', 'This is another file');
  await visitor.shot('another');
  await visitor.throttle(-1);
  await visitor.chooseAgain('source.bin', source.path);
  await visitor.done('source.bin');
  // The same name, size and time, and another content: it is no part of the first.
  await assertStored(server, source);
});

visitTest('another answers in the server\'s place', {}, async (server, visitor) => {
  const source = await sourceFile(server, 1000);
  await visitor.tab.route(/\/uploads\//, (route) => route.fulfill({ status: 200, contentType: 'text/html', body: '<h1>Log in' }));
  await visitor.choose(source.path);
  await visitor.shows('source.bin', 'The server gave an answer that is not understood');
  await visitor.tab.unroute(/\/uploads\//);
  await visitor.press('Retry', 'source.bin');
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('chunks that fail are sent in smaller parts, which the server joins', {}, async (server, visitor) => {
  const source = await sourceFile(server, 5 * MiB + 77);
  await intercept(visitor, CHUNKS, (count) => count <= 8 && problem(503, 'shutting-down'));
  const offsets = [];
  visitor.tab.on('request', (request) => {
    if (request.method() === 'PATCH') offsets.push(Number(request.headers()['upload-offset']));
  });
  await visitor.choose(source.path);
  await visitor.done('source.bin');
  assert.ok(offsets.some((offset) => offset > 0 && offset < MiB), `a chunk went in parts: ${offsets}`);
  await assertStored(server, source);
});

visitTest('a proxy breaks WebSockets: events tell the same', {}, async (server, visitor) => {
  await visitor.tab.routeWebSocket(/\/progress$/, (socket) => socket.close({ code: 1011 }));
  await visitor.tab.reload(); // what is there already has the browser's own sockets
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(MiB);
  await visitor.choose(source.path);
  await until('events are asked for', () => visitor.requests.includes('GET /progress/events'));
  await visitor.throttle(-1);
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('without a secure context the page hashes by itself', { host: 'plain.example' }, async (server, visitor) => {
  assert.equal(await visitor.tab.evaluate(() => isSecureContext || 'subtle' in crypto), false);
  const source = await sourceFile(server, 3 * MiB + 1);
  await visitor.choose(source.path);
  await visitor.done('source.bin');
  await assertStored(server, source);
  // Browsers say that this header is of no use here: over plain HTTP it is not.
  visitor.complaints = visitor.complaints.filter((text) => !text.startsWith('The Cross-Origin-Opener-Policy header'));
});
