// The upload page in a browser: files go up, whatever happens on the way. Failures have a file of their own.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MiB, digest, sourceFile, until } from '../support.mjs';
import { assertReadable } from './looks.mjs';
import { assertStored, visitTest } from './visit.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));

async function realFile(path) {
  return { path, name: basename(path), digest: digest(await readFile(path)) };
}

visitTest('three real files of different sizes', {}, async (server, visitor) => {
  await visitor.shot('idle');
  // A text, a lock file, and a program of some hundred megabytes or some tens.
  const sources = await Promise.all(
    [`${here}../../../README.md`, `${here}../package-lock.json`, process.execPath].map(realFile),
  );
  const chunks = sources.map(({ digest }) => Math.ceil(digest.size / MiB));
  await visitor.choose(...sources.map(({ path }) => path));
  await visitor.untilStored(sources[2].name, 2);
  const bar = visitor.row(sources[2].name).getByRole('progressbar');
  assert.equal(await bar.getAttribute('aria-label'), `${sources[2].name}, sent`);
  const told = Number(await bar.getAttribute('aria-valuenow'));
  assert.ok(told >= 1 && told <= 100, `${told}`);
  await visitor.shot('uploading');
  for (const { name } of sources) await visitor.done(name);
  await visitor.shot('done');
  await assertStored(server, ...sources);
  assert.equal(visitor.sentChunks().length, chunks.reduce((a, b) => a + b), 'each chunk was sent once, and whole');
  assert.deepEqual(await visitor.kept(), [], 'nothing is left in the browser');
  assert.equal(visitor.sockets.length, 1, 'one WebSocket for all of them, which the policy allows');
  for (const { name } of sources) {
    await visitor.press('Remove from list', name);
  }
  assert.equal(await visitor.tab.getByRole('listitem').count(), 0);
});

visitTest('a file of no bytes, and one with an odd name', {}, async (server, visitor) => {
  const sources = [await sourceFile(server, 0, 'nothing.txt'), await sourceFile(server, 70_000, 'Größe <b>名前 & %41.bin')];
  await visitor.choose(...sources.map(({ path }) => path));
  for (const { path } of sources) await visitor.done(basename(path));
  assert.deepEqual(await visitor.kept(), []);
  await assertStored(server, ...sources);
});

visitTest('the page is loaded again in mid-upload', {}, async (server, visitor) => {
  const source = await sourceFile(server, 12 * MiB + 5);
  await visitor.throttle(3 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 4);
  await visitor.tab.reload();
  await visitor.shows('source.bin', 'Choose this file again to go on');
  await visitor.shot('unfinished');
  const before = visitor.requests.length;
  await visitor.throttle(-1);
  await visitor.chooseAgain('source.bin', source.path);
  await visitor.done('source.bin');
  assert.ok(visitor.sentChunks(before).length <= 9, 'what was stored is not sent again');
  assert.ok(!visitor.requests.slice(before).some((request) => request.endsWith('/initialize')), 'the same session');
  await assertStored(server, source);
  assert.deepEqual(await visitor.kept(), []);
});

visitTest('the browser is closed and started again', {}, async (server, visitor) => {
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 3);
  await visitor.leave();
  visitor.requests = [];
  await visitor.launch();
  await visitor.open();
  await visitor.shows('source.bin', 'Unfinished');
  // By the button for new files, too: it is recognised.
  await visitor.choose(source.path);
  await visitor.done('source.bin');
  assert.equal(await visitor.tab.getByRole('listitem').count(), 1);
  assert.ok(visitor.sentChunks().length <= 5, `${visitor.sentChunks()}`);
  await assertStored(server, source);
});

visitTest('the server is killed and started again in mid-upload', {}, async (server, visitor) => {
  const source = await sourceFile(server, 10 * MiB + 1);
  await visitor.throttle(3 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 3);
  await server.end('SIGKILL');
  await visitor.shows('source.bin', 'The server cannot be reached');
  await visitor.shot('waiting');
  await server.start();
  await visitor.throttle(-1);
  await visitor.done('source.bin');
  await assertStored(server, source);
  assert.equal(visitor.requests.filter((request) => request.endsWith('/initialize')).length, 1);
});

visitTest('pause and resume', {}, async (server, visitor) => {
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 2);
  await visitor.press('Pause', 'source.bin');
  await visitor.shows('source.bin', 'Paused');
  await visitor.shot('paused');
  assert.match(await visitor.said(), /source\.bin: paused/);
  const before = visitor.requests.length;
  const stored = await visitor.stored('source.bin');
  // Nothing is on its way: a request of the page's own is the next one.
  await visitor.tab.evaluate(() => fetch('healthz'));
  assert.deepEqual(visitor.requests.slice(before), ['GET /healthz']);
  await visitor.throttle(-1);
  await visitor.press('Resume', 'source.bin');
  await visitor.done('source.bin');
  assert.ok(visitor.sentChunks(before).length <= 8 - stored);
  await assertStored(server, source);
});

visitTest('cancel, while it runs and on a later visit', {}, async (server, visitor) => {
  const [one, two] = [await sourceFile(server, 8 * MiB, 'one.bin'), await sourceFile(server, 8 * MiB, 'two.bin')];
  await visitor.throttle(2 * MiB);
  await visitor.choose(one.path, two.path);
  await visitor.untilStored('one.bin', 1);
  await visitor.untilStored('two.bin', 1);
  await visitor.press('Cancel', 'one.bin');
  await until('its row is gone', async () => (await visitor.row('one.bin').count()) === 0);
  await until('the browser has forgotten it', async () => (await visitor.kept()).length === 1);
  await visitor.tab.reload();
  await visitor.press('Cancel', 'two.bin');
  await until('its row is gone', async () => (await visitor.row('two.bin').count()) === 0);
  assert.deepEqual(await visitor.kept(), []);
  await assertStored(server);
});

visitTest('offline, and online again', {}, async (server, visitor) => {
  const source = await sourceFile(server, 8 * MiB);
  await visitor.throttle(2 * MiB);
  await visitor.choose(source.path);
  await visitor.untilStored('source.bin', 2);
  await visitor.throttle(2 * MiB, true);
  await visitor.shows('source.bin', 'You are offline');
  await visitor.tab.locator('#offline').waitFor();
  await visitor.shot('offline');
  await visitor.throttle(-1);
  await visitor.done('source.bin');
  await assertStored(server, source);
});

visitTest('files are dropped on the page, and the keyboard reaches everything', {}, async (server, visitor) => {
  const { tab } = visitor;
  const drop = await tab.evaluateHandle(() => {
    const data = new DataTransfer();
    data.items.add(new File(['dropped'], 'dropped.txt', { type: 'text/plain' }));
    return data;
  });
  await tab.dispatchEvent('#drop', 'dragenter', { dataTransfer: drop });
  assert.equal(await tab.locator('body.over').count(), 1);
  await tab.dispatchEvent('#drop', 'drop', { dataTransfer: drop });
  assert.equal(await tab.locator('body.over').count(), 0);
  await visitor.done('dropped.txt');
  assert.match(await visitor.said(), /dropped\.txt: done/);
  await assertStored(server, { digest: digest(Buffer.from('dropped')) });

  await tab.evaluate(() => document.activeElement?.blur());
  const focus = async () => {
    await tab.keyboard.press('Tab');
    return tab.evaluate(() => {
      const { ariaLabel, textContent } = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      return [ariaLabel ?? textContent, `${outlineStyle} ${outlineWidth}`];
    });
  };
  assert.deepEqual(await focus(), ['Choose files', 'solid 3px'], 'focus is seen');
  const chooser = tab.waitForEvent('filechooser');
  await tab.keyboard.press('Enter');
  await chooser;
  assert.deepEqual(await focus(), ['Remove from list: dropped.txt', 'solid 3px']);
  await tab.keyboard.press('Space');
  assert.equal(await tab.getByRole('listitem').count(), 0);
  const focused = await tab.evaluate(() => document.activeElement.id);
  assert.equal(focused, 'choose', 'focus is not lost with the button');
});

for (const [look, options] of [
  ['dark', { colorScheme: 'dark' }],
  ['phone', { width: 360, height: 740 }],
  ['phone-dark', { width: 360, height: 740, colorScheme: 'dark' }],
  ['light', {}],
]) {
  visitTest(`the page is readable: ${look}`, { ...options, flags: ['--max-size', `${9 * MiB}`] }, async (server, visitor) => {
    const name = 'a rather long name of a file, as cameras and people make them, 2026-11-23 10.55.01.mov';
    const sources = [
      await sourceFile(server, 100_000, 'notes.txt'),
      await sourceFile(server, 8 * MiB, name),
      await sourceFile(server, 10 * MiB, 'too-large.bin'),
    ];
    await visitor.throttle(2 * MiB);
    await visitor.shot(`${look}-idle`);
    await visitor.choose(...sources.map(({ path }) => path));
    await visitor.shows('too-large.bin', 'Failed');
    await visitor.untilStored(name, 2);
    await visitor.done('notes.txt');
    await visitor.shot(`${look}-uploading`);
    await assertReadable(visitor);
    await visitor.throttle(-1);
    await visitor.done(name);
    await visitor.shot(`${look}-done`);
  });
}
