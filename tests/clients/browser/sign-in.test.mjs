// The upload page of a server that wants to know who uploads: it asks for a token, and goes on by itself.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after } from 'node:test';
import { MiB, sourceFile, until } from '../support.mjs';
import { assertReadable } from './looks.mjs';
import { assertStored, visitTest } from './visit.mjs';

const TOKEN = 'alices-token-of-some-length';
const home = mkdtempSync(join(tmpdir(), 'highwater-users-'));
after(() => rmSync(home, { recursive: true }));
const users = join(home, 'users.toml');
writeFileSync(users, `[[user]]\nid = "alice"\ntoken = "${TOKEN}"\n`, { mode: 0o600 });
const flags = ['--auth', 'token', '--auth-file', users];

const field = (visitor) => visitor.tab.getByLabel('Token', { exact: true });

async function show(visitor, token) {
  await field(visitor).fill(token);
  await visitor.tab.keyboard.press('Enter');
}

/** Requests with their `Authorization`, as they went over the wire. */
function wired(visitor) {
  const seen = [];
  visitor.tab.on('request', async (request) => {
    seen.push({ url: request.url(), method: request.method(), authorization: await request.headerValue('Authorization') });
  });
  return seen;
}

/** What the server tells over the page's WebSockets. */
function told(visitor) {
  const events = [];
  visitor.tab.on('websocket', (socket) => {
    socket.on('framereceived', ({ payload }) => events.push(JSON.parse(payload)));
  });
  return events;
}

visitTest('a token is asked for once, and then every file goes up', { flags }, async (server, visitor) => {
  const seen = wired(visitor);
  const sources = await Promise.all([1, 2, 3, 4, 5].map((n) => sourceFile(server, 2 * MiB + n, `${n}.bin`)));
  await visitor.choose(...sources.map(({ path }) => path));
  await field(visitor).waitFor();
  await visitor.shows('1.bin', 'Waiting for your token');
  await visitor.shows('5.bin', 'Waiting for its turn');
  assert.equal(await visitor.tab.locator('#sign-in .error').textContent(), '', 'nobody was wrong yet');
  await show(visitor, 'two words');
  await visitor.tab.getByText('A token is of letters').waitFor();
  await show(visitor, 'somebody-elses-token-of-some-length');
  await visitor.tab.getByText('The server does not take this token').waitFor();
  assert.equal(await field(visitor).inputValue(), '');
  assert.ok(await field(visitor).evaluate((input) => input === document.activeElement));
  await show(visitor, TOKEN);
  for (const { path } of sources) await visitor.done(basename(path));
  assert.ok(await visitor.tab.locator('#sign-in').isHidden());
  await assertStored(server, ...sources);
  // It is known from now on, in this tab, and only what needs it is sent with it.
  await visitor.tab.reload();
  const one = await sourceFile(server, 10, 'one.bin');
  await visitor.choose(one.path);
  await visitor.done('one.bin');
  const bearing = seen.filter(({ authorization }) => authorization === `Bearer ${TOKEN}`);
  assert.equal(bearing.length, 6);
  assert.ok(bearing.every(({ url }) => url.endsWith('/uploads/initialize')));
  assert.ok(seen.every(({ url }) => !url.includes(TOKEN)));
  assert.deepEqual(await visitor.kept(), [], 'not in the browser, but in the tab');
});

visitTest('a session goes on without the token of its user', { flags }, async (server, visitor) => {
  const events = told(visitor);
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(3 * MiB);
  await visitor.choose(source.path);
  await field(visitor).waitFor();
  await show(visitor, TOKEN);
  await visitor.untilStored('source.bin', 2);
  // The WebSocket is opened bare, and let in by the session's token, in a message.
  await until('the server tells of chunks', () => events.some(({ event }) => event === 'chunk_uploaded'));
  assert.ok(visitor.sockets.length > 0 && visitor.sockets.every((socket) => new URL(socket.url()).search === ''));
  assert.deepEqual(events.filter(({ event }) => event === 'error'), []);
  await visitor.tab.evaluate(() => sessionStorage.clear());
  await visitor.tab.reload();
  await visitor.shows('source.bin', 'Choose this file again to go on');
  // What fails makes smaller parts, which go by tus.
  let failed = false;
  await visitor.tab.route(/\/chunks\/\d+$/, (route) => {
    if (failed) return route.fallback();
    failed = true;
    return route.fulfill({ status: 503, body: 'busy' });
  });
  await visitor.throttle(-1);
  await visitor.chooseAgain('source.bin', source.path);
  await visitor.done('source.bin');
  assert.ok(visitor.requests.some((request) => request.startsWith('PATCH /files/')));
  assert.ok(await visitor.tab.locator('#sign-in').isHidden());
  await assertStored(server, source);
});

visitTest('a page of somebody else hands the module its authorization', { flags }, async (server, visitor) => {
  const run = (given) =>
    visitor.tab.evaluate(async ([text, wrongFirst]) => {
      const { Upload } = await import('/web/highwater.js');
      let asked = 0;
      const fresh = async () => ((asked += 1), wrongFirst && asked === 1 ? 'Bearer expired' : text);
      const upload = new Upload(new File(['x'], 'x'), { authorization: wrongFirst === null ? text : fresh });
      const end = () => new Promise((done) => upload.addEventListener('state', () => /completed|failed/.test(upload.state) && done()));
      for (let tries = 0; tries < 2 && upload.state !== 'completed'; tries += 1) {
        const ended = end();
        upload.start();
        await ended;
      }
      return [upload.state, upload.error?.code, upload.error?.title, asked];
    }, given);
  assert.deepEqual(await run([`Bearer ${TOKEN}`, null]), ['completed', undefined, undefined, 0]);
  assert.deepEqual(await run([`Bearer ${TOKEN}`, true]), ['completed', undefined, undefined, 2]);
  const title = 'The server wants to know who you are';
  assert.deepEqual(await run(['Bearer nobodys', false]), ['failed', 'unauthorized', title, 2]);
});

for (const [look, options] of [
  ['light', {}],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { width: 360, height: 740 }],
]) {
  visitTest(`the form is readable: ${look}`, { ...options, flags }, async (server, visitor) => {
    const source = await sourceFile(server, 100_000, 'notes.txt');
    await visitor.choose(source.path);
    await field(visitor).waitFor();
    await visitor.shot(`sign-in-${look}`);
    await show(visitor, 'wrong');
    await visitor.tab.getByText('The server does not take this token').waitFor();
    await visitor.shot(`sign-in-${look}-wrong`);
    await assertReadable(visitor);
    await visitor.press('Cancel', 'notes.txt');
    await until('its row is gone', async () => (await visitor.row('notes.txt').count()) === 0);
  });
}
