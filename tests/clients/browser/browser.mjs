// A headless Chromium on a page with Uppy, served from an origin of its own.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { build } from 'esbuild';
import { PATIENCE, clients } from '../support.mjs';
import { wireTest } from '../wire.mjs';
import { launch } from './chromium.mjs';

const html = `<!doctype html><meta charset="utf-8"><title>Uppy</title><link rel="icon" href="data:,">
<input type="file" multiple> <progress value="0"></progress> <output></output><script src="/page.js"></script>`;

let bundle;
async function page() {
  bundle ??= build({ entryPoints: [join(clients, 'browser', 'page.mjs')], bundle: true, write: false });
  return (await bundle).outputFiles[0].contents;
}

/** Serves a page from an own port, so that every request to the tus server crosses origins. */
async function serve(answer) {
  const web = createServer(answer);
  web.listen(0, '127.0.0.1');
  await once(web, 'listening');
  return web;
}

/** A visitor of the page. Whatever the browser complains of, CORS before all, is in `complaints`. */
class Visitor {
  complaints = [];

  constructor(tab, origin) {
    this.tab = tab;
    this.origin = origin;
    tab.setDefaultTimeout(PATIENCE);
    tab.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) this.complaints.push(message.text());
    });
    tab.on('pageerror', (error) => this.complaints.push(String(error)));
  }

  /** Loads the page (again), with Uppy set up anew and the file chosen. */
  async open(path, options) {
    await this.tab.goto(this.origin);
    await this.tab.evaluate((given) => window.start(given), options);
    await this.tab.setInputFiles('input', path);
  }

  /** Begins to upload; the outcome is a promise of its own. */
  begin() {
    return this.tab.evaluate(() => window.upload());
  }

  /** Uploads to the end and gives the URL of the one file. */
  async upload() {
    const { urls, errors } = await this.begin();
    assert.deepEqual(errors, []);
    assert.equal(urls.length, 1);
    return urls[0];
  }

  /** Waits until Uppy tells a progress of at least `bytes`. */
  async sent(bytes) {
    await this.tab.waitForFunction((least) => window.sent >= least, bytes, { polling: 20 });
    return this.tab.evaluate(() => window.sent);
  }

  ask(what) {
    return this.tab.evaluate((name) => window.uppy[name](), what);
  }

  /** The browser keeps no leave that it was given: every request is asked for by an OPTIONS of its own. */
  async forgetful() {
    this.devtools = await this.tab.context().newCDPSession(this.tab);
    await this.devtools.send('Network.enable');
    await this.devtools.send('Network.setCacheDisabled', { cacheDisabled: true });
    return this;
  }

  /** How fast the browser sends, in bytes a second. */
  async throttle(uploadThroughput) {
    const limits = { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput };
    await this.devtools.send('Network.emulateNetworkConditions', limits);
  }
}

/** What a visitor of the page that `answer` serves sees, in a browser of his own that is started with `more` flags. */
export async function visit(answer, more, body) {
  const web = await serve(answer);
  const browser = await launch(more);
  try {
    const tab = await browser.newPage();
    await body(await new Visitor(tab, `http://127.0.0.1:${web.address().port}/`).forgetful());
  } finally {
    await browser.close();
    web.closeAllConnections();
    web.close();
  }
}

/** A test with a browser of its own, which is done without a complaint of the browser's. */
export function browserTest(name, options, body) {
  wireTest(name, options, async (server, wire) => {
    const script = await page();
    const answer = (request, response) => {
      if (request.url === '/page.js') response.setHeader('Content-Type', 'text/javascript').end(script);
      else response.setHeader('Content-Type', 'text/html').end(html);
    };
    await visit(answer, [], async (visitor) => {
      await body(server, wire, visitor);
      assert.deepEqual(visitor.complaints, [], 'the browser complained');
    });
  });
}
