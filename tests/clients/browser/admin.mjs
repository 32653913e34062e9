// A headless Chromium on the operators' page, which the server under test serves itself.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { once } from 'node:events';
import { PATIENCE, serverTest } from '../support.mjs';
import { launch } from './chromium.mjs';

/** The operators' page in a tab. `complaints` is what the browser said of it, breaches of its policy before all. */
export class Operator {
  complaints = [];
  urls = [];

  constructor(tab) {
    this.tab = tab;
    tab.setDefaultTimeout(PATIENCE);
    tab.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.complaints.push(message.text());
    });
    tab.on('pageerror', (error) => this.complaints.push(String(error)));
    tab.on('request', (request) => this.urls.push(request.url()));
  }

  async open(server) {
    await this.tab.goto(server.at('/admin'));
  }

  /** Waits until the text of an element is so; blanks of every kind are alike. */
  async reads(selector, pattern) {
    await this.tab.waitForFunction(
      ([where, source]) => new RegExp(source).test((document.querySelector(where)?.innerText ?? '').replace(/\s+/g, ' ')),
      [selector, pattern.source],
    ).catch(async (error) => {
      throw new Error(`${selector} never read ${pattern}, but: ${await this.tab.locator(selector).first().innerText()}`, { cause: error });
    });
  }

  /** A table row, by what is in it. */
  row(text) {
    return this.tab.locator('#rows tr').filter({ hasText: text });
  }

  /** Waits until the row has text like this. */
  async shows(text, pattern) {
    await this.row(text).filter({ hasText: pattern }).waitFor();
  }

  focused() {
    return this.tab.evaluate(() => document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText ?? '');
  }

  /** By the keyboard alone to the control with this accessible name. */
  async tabTo(name) {
    for (let n = 0; n < 80; n += 1) {
      if (name.test(await this.focused())) return;
      await this.tab.keyboard.press('Tab');
    }
    assert.fail(`Tab never came to ${name}`);
  }

  /** What a browser says of requests that fail, which a test made fail. */
  forgive(pattern) {
    const rest = this.complaints.filter((text) => !pattern.test(text));
    assert.ok(rest.length < this.complaints.length, 'the browser told of the failure');
    this.complaints = rest;
  }
}

/** A test with a server and the operators' page, which is done without a complaint of the browser's. */
export function operatorTest(name, { context = {}, ...options }, body) {
  serverTest(name, options, async (server) => {
    const browser = await launch();
    try {
      const operator = new Operator(await browser.newPage(context));
      await body(server, operator);
      assert.deepEqual(operator.complaints, [], 'the browser complained');
    } finally {
      await browser.close();
    }
  });
}

const base64 = (text) => Buffer.from(text).toString('base64');

/** Creates an upload by tus and sends the first bytes of it. */
export async function tusUpload(server, name, length, sent = 0) {
  const create = { 'Tus-Resumable': '1.0.0', 'Upload-Length': `${length}`, 'Upload-Metadata': `filename ${base64(name)}` };
  const created = await fetch(server.endpoint, { method: 'POST', headers: create });
  assert.equal(created.status, 201, await created.text());
  const url = new URL(created.headers.get('Location'), server.endpoint).href;
  if (sent > 0) {
    const headers = { 'Tus-Resumable': '1.0.0', 'Upload-Offset': '0', 'Content-Type': 'application/offset+octet-stream' };
    assert.equal((await fetch(url, { method: 'PATCH', headers, body: Buffer.alloc(sent, 7) })).status, 204);
  }
  return { url, id: new URL(url).pathname.replace('/files/', '') };
}

/** Begins a PATCH of the whole upload; `send` gives it so many bytes more. */
export async function running(upload, length) {
  const { hostname, port, pathname, host } = new URL(upload.url);
  const socket = connect(Number(port), hostname);
  await once(socket, 'connect');
  socket.on('error', () => {}); // it may be cancelled
  const head = [`PATCH ${pathname} HTTP/1.1`, `Host: ${host}`, 'Tus-Resumable: 1.0.0', 'Upload-Offset: 0',
    'Content-Type: application/offset+octet-stream', `Content-Length: ${length}`];
  socket.write(`${head.join('\r\n')}\r\n\r\n`);
  return { send: (count) => socket.write(Buffer.alloc(count, 7)), end: () => socket.destroy() };
}

/** A session, with chunks that are sent by their numbers. */
export async function session(server, filename, size, chunkSize) {
  const ask = JSON.stringify({ filename, size, chunk_size: chunkSize, verify: false });
  const made = await fetch(server.at('/uploads/initialize'), { method: 'POST', body: ask });
  assert.equal(made.status, 201);
  const { session_id: id, session_token: token } = await made.json();
  return {
    id,
    async chunk(n) {
      const options = { method: 'POST', headers: { Authorization: `Bearer ${token}` }, body: Buffer.alloc(chunkSize, n) };
      assert.equal((await fetch(server.at(`/uploads/${id}/chunks/${n}`), options)).status, 201);
    },
  };
}

