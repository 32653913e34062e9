// examples/uppy, as its README builds it, in a browser: Uppy's Dashboard, and what the server tells beside it.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, extname, join, normalize } from 'node:path';
import { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';
import { MiB, assertStored, head, sourceFile, succeed, until } from '../support.mjs';
import { wireTest } from '../wire.mjs';
import { visit } from './browser.mjs';

const example = fileURLToPath(new URL('../../../examples/uppy/', import.meta.url));
const types = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };
/** The server, as the page knows it: the browser is told where that is. */
const NAME = 'highwater.test';

let built;
before(async () => {
  assert.ok(existsSync(join(example, 'node_modules')), 'run `npm --prefix examples/uppy ci`');
  built = await mkdtemp(join(tmpdir(), 'highwater-uppy-'));
  const env = { ...process.env, VITE_HIGHWATER: `http://${NAME}` };
  await succeed('npm', ['run', 'build', '--', '--outDir', built, '--emptyOutDir'], { cwd: example, env });
});
after(() => rm(built, { recursive: true, force: true }));

async function answer(request, response) {
  const path = normalize(new URL(request.url, 'http://page').pathname);
  const file = path === '/' ? '/index.html' : path;
  response.setHeader('Content-Type', types[extname(file)]).end(await readFile(join(built, file)));
}

/** Runs in the page from its first moment: what its bars have shown, and what of it must not be. */
function observe() {
  window.wrong = [];
  window.words = [];
  const before = new WeakMap();
  const look = () => {
    for (const row of document.querySelectorAll('#files li')) {
      const shown = window.shown(row);
      if (shown.safe > shown.sent) window.wrong.push(`${shown.name}: ${shown.safe} safe, ${shown.sent} sent`);
      if (shown.safe < (before.get(row) ?? 0)) window.wrong.push(`${shown.name}: ${shown.safe} safe after ${before.get(row)}`);
      before.set(row, shown.safe);
      window.words.push(shown.words);
    }
  };
  window.shown = (row) => {
    const bar = (kind) => row.querySelector(`${kind} progress`);
    return {
      name: row.querySelector('h3').textContent,
      sent: Number(bar('.sent').dataset.bytes),
      safe: Number(bar('.safe').dataset.bytes),
      full: bar('.sent').value === 1 && bar('.safe').value === 1,
      words: row.querySelector('.safe .figures').textContent,
    };
  };
  new MutationObserver(look).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
}

/** The example's page, and what a person does there. */
class Page {
  /** Each WebSocket, with its messages. */
  sockets = [];

  constructor({ tab, origin, complaints }) {
    Object.assign(this, { tab, origin, complaints });
    tab.on('websocket', (socket) => {
      const frames = { sent: [], received: [] };
      if (socket.url().includes(NAME)) this.sockets.push(frames);
      socket.on('framesent', ({ payload }) => frames.sent.push(JSON.parse(payload)));
      socket.on('framereceived', ({ payload }) => frames.received.push(JSON.parse(payload)));
    });
  }

  async open(sources) {
    await this.tab.addInitScript(observe);
    await this.tab.goto(this.origin);
    await this.tab.locator('.uppy-Dashboard-input').first().setInputFiles(sources.map(({ path }) => path));
  }

  upload() {
    return this.tab.locator('.uppy-StatusBar-actionBtn--upload').click();
  }

  /** What the bars show, by file name. */
  async bars() {
    const rows = await this.tab.evaluate(() => [...document.querySelectorAll('#files li')].map(window.shown));
    return new Map(rows.map((row) => [row.name, row]));
  }

  /** Every file is sent and safe, and the server says that it is complete. */
  async done(files) {
    const full = async () => {
      const rows = [...(await this.bars()).values()];
      return rows.length === files && rows.every((row) => row.full && row.words.endsWith('completed'));
    };
    await until('both bars of every file are full', full);
    await this.sane();
  }

  /** No bar showed what cannot be, and of what the browser complained, cut connections were the reason. */
  async sane() {
    assert.deepEqual(await this.tab.evaluate(() => window.wrong), []);
    const expected = /net::ERR_(CONNECTION|EMPTY|INCOMPLETE)|WebSocket connection to .* failed|409 \(Conflict\)/;
    const other = this.complaints.filter((text) => !expected.test(text));
    assert.deepEqual(other, [], 'the browser complained');
  }

  /** Golden Retriever has put the files, and where they are uploaded to, where the next page finds them. */
  async kept(files) {
    const stores = () =>
      new Promise((resolve, reject) => {
        const opening = indexedDB.open('uppy-blobs');
        opening.onerror = () => reject(opening.error);
        opening.onsuccess = () => {
          const stores = opening.result.transaction(['files', 'metadata']);
          const [blobs, states] = ['files', 'metadata'].map((name) => stores.objectStore(name).getAll());
          stores.oncomplete = () => {
            opening.result.close();
            const state = states.result.map(({ metadata }) => metadata).join();
            resolve([blobs.result.length, state.match(/"uploadUrl":"/g)?.length]);
          };
        };
      });
    await until('the files are kept', async () => (await this.tab.evaluate(stores)).every((count) => count === files));
  }
}

/** The paths of the uploads, by the name in their metadata. */
function uploads(wire) {
  const name = (request) => Buffer.from(/\bfilename ([^,]*)/.exec(request.sent('Upload-Metadata'))[1], 'base64').toString();
  const made = wire.sentOf('POST').filter((request) => request.status === 201 && request.sent('Upload-Metadata'));
  return new Map(made.map((request) => [name(request), new URL(request.answer('Location')).pathname]));
}

// Classes and cases are what a binary without the tests' own dependencies must know, too.
const flags = ['--cors-allow-origin', '(?i)HTTP://127\\.0\\.0\\.1:\\d+'];

function exampleTest(name, body) {
  wireTest(name, { flags }, async (server, wire) => {
    const rule = `--host-resolver-rules=MAP ${NAME} ${new URL(wire.endpoint).host}`;
    await visit(answer, [rule], (visitor) => body(server, wire, new Page(visitor)));
  });
}

/** While nothing passes: once the server's bars show together as many bytes as HEAD tells, and at least so many. */
async function safe(least, server, wire, page) {
  return until(`${least} bytes are safe, and the bars say so`, async () => {
    const rows = [...(await page.bars()).values()];
    const told = await Promise.all(rows.map((row) => head(server.at(uploads(wire).get(row.name)))));
    const total = rows.reduce((sum, row) => sum + row.safe, 0);
    return rows.length > 0 && rows.every((row, at) => row.safe === told[at].offset) && total >= least && total;
  });
}

exampleTest('the Uppy example: two files, a cut connection, a reload in the middle', async (server, wire, page) => {
  const sources = [await sourceFile(server, 12 * MiB, 'Größe 名前.bin'), await sourceFile(server, 7 * MiB + 3, 'b.bin')];
  await page.open(sources);
  const first = wire.hold(4 * MiB);
  await page.upload();
  await first;
  assert.equal(await safe(4 * MiB, server, wire, page), 4 * MiB);
  const ahead = async () => [...(await page.bars()).values()].some((row) => row.sent > row.safe);
  await until('the browser has sent more than is safe', ahead);

  // The WebSocket is cut with everything else, and goes on after its last message. Before Uppy goes on, Chromium sends the
  // cut PATCHes again by itself, and they are refused: how much passes until then is its own affair.
  wire.pace = MiB;
  wire.cut();
  const shown = async () => [...(await page.bars()).values()].reduce((sum, row) => sum + row.safe, 0);
  await until('the bars go on', async () => (await shown()) > 5 * MiB);
  await wire.hold(0);
  const [before, after] = page.sockets;
  const since = Object.assign({}, ...after.sent.map((message) => message.since));
  assert.deepEqual(since, Object.fromEntries(before.received.map((message) => [message.upload_id, message.sequence])));
  assert.equal(Object.keys(since).length, 2);
  assert.ok(!after.received.some((message) => message.event === 'snapshot'), 'nothing had to be told anew');
  const words = await page.tab.evaluate(() => window.words);
  assert.ok(words.some((text) => /^[\d.]+ MiB of [\d.]+ MiB · [\d.]+ [KM]iB\/s · \d+ s left$/.test(text)), words.join('\n'));
  await page.kept(2);
  await page.sane();
  const kept = await safe(5 * MiB, server, wire, page);

  await page.tab.reload();
  assert.equal(await safe(kept, server, wire, page), kept, 'shown before a byte is sent');
  const requests = wire.requests.length;
  wire.pace = Infinity;
  wire.cut();
  await page.upload();
  await page.done(2);
  const methods = wire.requests.slice(requests).map((request) => request.method);
  assert.deepEqual(methods.filter((method) => method === 'POST'), [], 'both went on');
  for (const { path, digest } of sources) await assertStored(server, server.at(uploads(wire).get(basename(path))), digest);
});

exampleTest('the Uppy example: parts in parallel, where no WebSocket gets through', async (server, wire, page) => {
  wire.breaks = /^\/progress$/;
  const source = await sourceFile(server, 12 * MiB + 5, 'parts.bin');
  await page.open([source]);
  await page.tab.locator('#parallel').selectOption('4');
  const held = wire.hold(5 * MiB);
  await page.upload();
  await held;
  await until('the bar shows all parts', async () => (await page.bars()).get('parts.bin').safe === 5 * MiB);
  assert.equal(await page.tab.locator('#connection').textContent(), 'Live, by Server-Sent Events.');
  wire.cut();
  await page.done(1);
  assert.equal(wire.sentOf('POST').length, 5, 'four parts, joined');
  await page.tab.locator('.uppy-StatusBar-actionBtn--done').click();
  await until('the list is empty', async () => (await page.bars()).size === 0);
  await assertStored(server, server.at(uploads(wire).get('parts.bin')), source.digest);
});
