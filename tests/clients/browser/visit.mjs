// A visitor of the upload page, in a headless Chromium: looks at what a person sees, and does what a person does.
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PATIENCE, digestFile, serverTest, until } from '../support.mjs';
import { launchAt } from './chromium.mjs';

/** A name that is not loopback's makes a page that is no secure context. */
const NAMES = '--host-resolver-rules=MAP plain.example 127.0.0.1';

export class Visitor {
  /** What the browser complained of that is no failure of a request. */
  complaints = [];
  /** Requests of the session API and of tus, as `METHOD path`, in the order sent. */
  requests = [];
  sockets = [];

  static async arrive(server, options = {}) {
    const visitor = new Visitor();
    visitor.server = server;
    visitor.options = options;
    visitor.profile = join(server.home, 'profile');
    await visitor.launch();
    return visitor;
  }

  get origin() {
    return `http://${this.options.host ?? '127.0.0.1'}:${this.server.port}`;
  }

  /** Starts the browser, with the profile of the last time. */
  async launch() {
    const { width = 1000, height = 800, colorScheme = 'light' } = this.options;
    this.context = await launchAt(this.profile, [NAMES], {
      viewport: { width, height },
      colorScheme,
      locale: 'en-GB',
    });
    const tab = this.context.pages()[0] ?? (await this.context.newPage());
    this.tab = tab;
    tab.setDefaultTimeout(PATIENCE);
    tab.on('console', (message) => {
      // A request that fails is told by the browser, whatever the page makes of it.
      const failed = /^(Failed to load resource|WebSocket connection to)/.test(message.text());
      if (['error', 'warning'].includes(message.type()) && !failed) this.complaints.push(message.text());
    });
    tab.on('pageerror', (error) => this.complaints.push(String(error.stack)));
    tab.on('request', (request) => this.requests.push(`${request.method()} ${new URL(request.url()).pathname}`));
    tab.on('filechooser', () => {}); // from now on choosers are caught, and not only once somebody waits for one
    tab.on('websocket', (socket) => this.sockets.push(socket));
    this.devtools = await this.context.newCDPSession(tab);
    await this.devtools.send('Network.enable');
    return tab;
  }

  /** How fast the browser sends, in bytes a second. */
  async throttle(uploadThroughput, offline = false) {
    const limits = { offline, latency: 0, downloadThroughput: -1, uploadThroughput };
    await this.devtools.send('Network.emulateNetworkConditions', limits);
  }

  open() {
    return this.tab.goto(this.origin);
  }

  /** Chooses files by the button that a person would press. */
  async choose(...paths) {
    const chooser = this.tab.waitForEvent('filechooser');
    await this.tab.getByRole('button', { name: 'Choose files', exact: true }).click();
    await (await chooser).setFiles(paths);
  }

  async chooseAgain(name, path) {
    const chooser = this.tab.waitForEvent('filechooser');
    await this.button('Choose file', name).click();
    await (await chooser).setFiles(path);
  }

  row(name) {
    return this.tab.getByRole('listitem').filter({ has: this.tab.getByRole('heading', { name, exact: true }) });
  }

  button(label, name) {
    return this.tab.getByRole('button', { name: `${label}: ${name}`, exact: true });
  }

  press(label, name) {
    return this.button(label, name).click();
  }

  /** Waits until a row shows a text. */
  async shows(name, text, patience = PATIENCE) {
    await this.row(name).getByText(text).first().waitFor({ timeout: patience });
  }

  done(name) {
    return this.shows(name, 'Done', 2 * PATIENCE);
  }

  /** Chunks that a row shows as stored. */
  async stored(name) {
    const text = await this.row(name).locator('.counts').textContent({ timeout: PATIENCE });
    return Number(/^(\d+) of/.exec(text)?.[1] ?? 0);
  }

  async untilStored(name, least) {
    return until(`${least} chunks of ${name} are stored`, async () => (await this.stored(name)) >= least);
  }

  /** Chunks sent whole so far, by the number of requests. */
  sentChunks(from = 0) {
    return this.requests.slice(from).filter((request) => /^POST .*\/chunks\/\d+$/.test(request));
  }

  kept() {
    return this.tab.evaluate(() => Object.keys(localStorage));
  }

  /** What an element's text says to those who hear the page. */
  said() {
    return this.tab.locator('#said').textContent();
  }

  async shot(name) {
    const dir = process.env.HIGHWATER_TEST_SHOTS;
    if (dir) await this.tab.screenshot({ path: join(dir, `${name}.png`), fullPage: true });
  }

  leave() {
    return this.context.close();
  }
}

/** Waits until the data directory's files are these and no others, by their content. */
export async function assertStored(server, ...sources) {
  const wanted = sources.map(({ digest }) => digest.sha256).sort();
  const stored = async () => {
    const dir = join(server.dir, 'files');
    const found = existsSync(dir) ? await readdir(dir, { recursive: true, withFileTypes: true }) : [];
    const files = found.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath ?? entry.path, entry.name));
    return (await Promise.all(files.map(async (file) => (await digestFile(file)).sha256))).sort();
  };
  await until('the unfinished ones are gone', async () => (await stored()).length === wanted.length);
  assert.deepEqual(await stored(), wanted, 'what is stored is not what was sent');
}

/** A test with a visitor of the server's own page, which is done without a complaint of the browser's. */
export function visitTest(name, options, body) {
  serverTest(name, { timeout: 180_000, ...options }, async (server, t) => {
    const visitor = await Visitor.arrive(server, options);
    try {
      await visitor.open();
      await body(server, visitor, t);
      assert.deepEqual(visitor.complaints, [], 'the browser complained');
    } catch (error) {
      const seen = await visitor.tab.locator('body').innerText().catch(() => '');
      error.message += `\n--- the page\n${seen}\n--- requests\n${visitor.requests.slice(-20).join('\n')}`;
      error.message += `\n--- complaints\n${visitor.complaints.join('\n')}`;
      throw error;
    } finally {
      await visitor.leave();
    }
  });
}
