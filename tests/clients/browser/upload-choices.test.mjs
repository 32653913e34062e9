// What people choose: too much at once, the same twice, folders, and names of every kind.
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { MiB, sourceFile, until } from '../support.mjs';
import { assertStored, visitTest } from './visit.mjs';

const seen = (visitor) => visitor.tab.locator('#notice').filter({ visible: true });
const names = (visitor) => visitor.tab.locator('.row .name').allTextContents();

visitTest('a folder, and files that are there already', {}, async (server, visitor) => {
  const folder = join(server.home, 'folder');
  await mkdir(folder);
  await writeFile(join(folder, 'inside.txt'), 'inside');
  const one = await sourceFile(server, 4 * MiB, 'one.bin');
  const { x, y } = await visitor.tab.locator('#drop').boundingBox();
  const data = { items: [], files: [folder, one.path], dragOperationsMask: 1 };
  await visitor.throttle(MiB);
  for (const type of ['dragEnter', 'dragOver', 'drop']) {
    await visitor.devtools.send('Input.dispatchDragEvent', { type, x: x + 50, y: y + 50, data });
  }
  await seen(visitor).getByText('Folders are not uploaded').waitFor();
  await visitor.shows('one.bin', 'Uploading');
  await visitor.shot('folder');
  await visitor.choose(one.path);
  await seen(visitor).getByText('one.bin is in the list already.').waitFor();
  const two = await sourceFile(server, 100, 'two.bin');
  await visitor.choose(two.path);
  await until('what is past is not said any more', async () => (await seen(visitor).count()) === 0);
  assert.deepEqual(await names(visitor), ['one.bin', 'two.bin']);
  await visitor.throttle(-1);
  await visitor.done('one.bin');
  await visitor.done('two.bin');
  await assertStored(server, one, two);
});

visitTest('many files: those that have not begun are not left behind without a word', {}, async (server, visitor) => {
  const sources = await Promise.all([10, 9, 8, 7, 6].map((n) => sourceFile(server, 3 * MiB, `${n}.bin`)));
  await visitor.throttle(MiB);
  await visitor.choose(...sources.map(({ path }) => path));
  await visitor.shows('6.bin', 'Waiting for its turn');
  await visitor.shows('8.bin', 'Uploading');
  await visitor.shot('queued');
  const asked = visitor.tab.waitForEvent('dialog');
  const reloaded = visitor.tab.reload();
  const dialog = await asked;
  assert.equal(dialog.type(), 'beforeunload');
  await dialog.accept();
  await reloaded;
  await visitor.shows('8.bin', 'Unfinished');
  assert.deepEqual(await names(visitor), ['8.bin', '9.bin', '10.bin']);
  // What is kept needs no word.
  await visitor.tab.reload();
  await visitor.throttle(-1);
  await visitor.choose(...sources.map(({ path }) => path));
  for (const { path } of sources) await visitor.done(basename(path));
  await assertStored(server, ...sources);
});

visitTest('names of every kind', {}, async (server, visitor) => {
  const rtl = 'تقرير سنوي 2026 (نهائي).pdf';
  const report = await sourceFile(server, 10, rtl);
  await visitor.choose(report.path);
  await visitor.done(rtl);
  const drop = await visitor.tab.evaluateHandle(() => {
    const data = new DataTransfer();
    for (const letter of ['y', '\u00fc']) data.items.add(new File(['long'], `${letter.repeat(600)}.txt`, { lastModified: 1 }));
    return data;
  });
  await visitor.tab.dispatchEvent('#drop', 'drop', { dataTransfer: drop });
  await visitor.done(`${'y'.repeat(600)}.txt`);
  const refused = `${'ü'.repeat(600)}.txt`;
  await visitor.shows(refused, 'Rename the file to a shorter name');
  await visitor.shot('names');
  assert.equal(await visitor.button('Retry', refused).count(), 0, 'it would be refused again');
  const tall = await visitor.row(refused).locator('.name').boundingBox();
  assert.ok(tall.height < 90, `a name of ${tall.height} pixels`);
  // The same once more is the same row.
  const before = visitor.requests.length;
  await visitor.tab.dispatchEvent('#drop', 'drop', { dataTransfer: drop });
  await until('it was tried again', () => visitor.requests.slice(before).some((request) => request.endsWith('/initialize')));
  await visitor.shows(refused, 'Rename the file to a shorter name');
  assert.equal(await visitor.row(refused).count(), 1);
});
