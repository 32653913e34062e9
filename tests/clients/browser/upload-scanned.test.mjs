// The upload page at a server that looks through files for malware before they are complete. Its scanner is a clamd that
// answers when a test lets it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after } from 'node:test';
import { MiB, sourceFile, until } from '../support.mjs';
import { assertStored, visitTest } from './visit.mjs';

const COMMAND = 'zINSTREAM\0'.length;
/** What it says of every file that is handed to it; `null`: it thinks. */
let verdict = null;
const thinking = new Set();

/** Whether all pieces of a stream have come: each behind its length, the last one of none. */
function isWhole(bytes) {
  let at = COMMAND;
  while (at + 4 <= bytes.length) {
    const length = bytes.readUInt32BE(at);
    if (length === 0) return true;
    at += 4 + length;
  }
  return false;
}

const clamd = createServer((socket) => {
  let bytes = Buffer.alloc(0);
  socket.on('error', () => {});
  socket.on('data', (more) => {
    bytes = Buffer.concat([bytes, more]);
    if (!isWhole(bytes)) return;
    const answer = () => verdict && socket.end(`stream: ${verdict}\0`);
    thinking.add(answer);
    socket.on('close', () => thinking.delete(answer));
    answer();
  });
});
clamd.listen(0, '127.0.0.1');
await once(clamd, 'listening');
after(() => clamd.close());

function decide(text) {
  verdict = text;
  for (const answer of thinking) answer();
}

const flags = ['--scan', `clamd:tcp://127.0.0.1:${clamd.address().port}`, '--scan-wait', '200ms'];
const CHECKED = 'Being checked for malware';

visitTest('a clean file is done once it was checked', { flags }, async (server, visitor) => {
  decide(null);
  const source = await sourceFile(server, 3 * MiB);
  await visitor.choose(source.path);
  await visitor.shows('source.bin', CHECKED);
  await visitor.shot('checking');
  assert.equal(await visitor.row('source.bin').getByText('Done').count(), 0);
  decide('OK');
  await visitor.done('source.bin');
  await assertStored(server, source);
  assert.deepEqual(await visitor.kept(), []);
});

visitTest('malware is told, and no further try is offered', { flags }, async (server, visitor) => {
  decide(null);
  const source = await sourceFile(server, MiB);
  await visitor.choose(source.path);
  await visitor.shows('source.bin', CHECKED);
  decide('Bad.Thing FOUND');
  await visitor.shows('source.bin', 'Malware was found in this file');
  assert.equal(await visitor.button('Retry', 'source.bin').count(), 0);
  await assertStored(server);
  // Found before the answer to the request that completed it.
  const other = await sourceFile(server, 2 * MiB, 'other.bin');
  await visitor.choose(other.path);
  await visitor.shows('other.bin', 'Malware was found in this file');
  assert.match(await visitor.said(), /other\.bin: Malware was found/);
});

visitTest('who comes back while a file is checked sees that, and its end', { flags }, async (server, visitor) => {
  for (const [found, end] of [
    ['OK', () => until('its row is gone', async () => (await visitor.tab.getByRole('listitem').count()) === 0)],
    ['Bad.Thing FOUND', () => visitor.shows('source.bin', 'Malware was found in this file')],
  ]) {
    decide(null);
    const source = await sourceFile(server, MiB);
    await visitor.choose(source.path);
    await visitor.shows('source.bin', CHECKED);
    await visitor.tab.reload();
    await visitor.shows('source.bin', CHECKED);
    decide(found);
    await end();
  }
});
