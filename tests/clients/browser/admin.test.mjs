// The operators' page, in a browser, against the server that serves it.
import assert from 'node:assert/strict';
import { MiB, head, until } from '../support.mjs';
import { operatorTest, running, session, tusUpload } from './admin.mjs';

const TOKEN = 'correct-horse-battery';

operatorTest('admin page: uploads of both doors are shown while they come in', {}, async (server, operator) => {
  await operator.open(server);
  await operator.reads('#empty', /No uploads yet/);
  const upload = await tusUpload(server, 'talk é.mp4', 8 * MiB);
  await operator.shows('talk é.mp4', /file.*active.*waits for bytes.*0 %/);
  const sending = await running(upload, 8 * MiB);
  sending.send(2 * MiB);
  await operator.shows('talk é.mp4', /receiving.*25 % · 2.MiB.*8.MiB/);
  sending.send(2 * MiB);
  await operator.shows('talk é.mp4', /50 % · 4.MiB/);
  await operator.shows('talk é.mp4', /iB\/s.*left/);
  const film = await session(server, 'film.mkv', 4 * MiB, MiB);
  await film.chunk(3);
  await operator.shows('film.mkv', /session.*25 % · 1.MiB/);
  await film.chunk(1);
  await operator.shows('film.mkv', /50 %/);
  await operator.reads('#open', /^2$/);
  await operator.reads('#receiving', /1 body comes in now/);
  sending.send(4 * MiB);
  await operator.row('talk é.mp4').waitFor({ state: 'detached' });
  await operator.reads('#success', /100 %/);
  sending.end();
});

operatorTest('admin page: filters, sorting and pages', {}, async (server, operator) => {
  const { tab } = operator;
  for (let n = 0; n < 30; n += 1) await tusUpload(server, `file ${n}`, 1000 + n);
  await tusUpload(server, 'done', 10, 10);
  await operator.open(server);
  const names = () => tab.locator('#rows .name').allInnerTexts();
  await operator.reads('#page', /Page 1 of 2 · 30 uploads/);
  assert.equal((await names()).length, 25);
  // The server's order: by when they were made, to the millisecond; the sizes leave no doubt.
  // Next at once: it is the next page of the new order, never of the one before.
  await tab.getByRole('button', { name: 'Size' }).click();
  assert.equal(await tab.locator('th[data-sort=length]').getAttribute('aria-sort'), 'descending');
  await tab.getByRole('button', { name: 'Next' }).click();
  await operator.reads('#page', /Page 2 of 2/);
  assert.deepEqual(await names(), ['file 4', 'file 3', 'file 2', 'file 1', 'file 0']);
  await tab.getByRole('button', { name: 'Previous' }).click();
  await operator.reads('#page', /Page 1 of 2/);
  await tab.getByRole('button', { name: 'Size' }).click();
  await tab.waitForFunction(() => document.querySelector('#rows .name')?.innerText === 'file 0');
  await tab.getByLabel('completed').check();
  await tab.getByLabel('active').uncheck();
  await tab.getByLabel('scanning').uncheck();
  await tab.getByLabel('assembling').uncheck();
  await operator.reads('#page', /Page 1 of 1 · 1 upload$/);
  assert.deepEqual(await names(), ['done']);
  await operator.reads('#statuses', /active 30.*completed 1/);
  await tab.getByLabel('file', { exact: true }).uncheck();
  await operator.reads('#empty', /No upload is like that/);
});

operatorTest('admin page: an upload is cancelled by the keyboard, and the focus stays with its neighbours', {}, async (server, operator) => {
  const { tab } = operator;
  await tusUpload(server, 'kept.bin', 10);
  const doomed = await tusUpload(server, 'doomed.bin', MiB);
  const sending = await running(doomed, MiB);
  sending.send(1000);
  await operator.open(server);
  await operator.shows('doomed.bin', /1000.B/);
  await operator.tabTo(/^Cancel doomed\.bin/);
  // A refresh that changes the order and the rows around it leaves the focus alone.
  const node = await tab.evaluateHandle(() => document.activeElement);
  await tusUpload(server, 'newcomer.bin', 10);
  sending.send(1000);
  await operator.shows('doomed.bin', /1.95.KiB/);
  await operator.row('newcomer.bin').waitFor();
  assert.ok(await tab.evaluate((before) => document.activeElement === before, node), 'the focus was lost');
  await tab.keyboard.press('Enter');
  await operator.reads('#confirm', /Cancel this upload\?.*doomed\.bin/);
  assert.equal(await operator.focused(), 'Keep it');
  await tab.keyboard.press('Escape');
  assert.match(await operator.focused(), /^Cancel doomed\.bin/);
  assert.equal((await head(doomed.url)).status, 200);
  await tab.keyboard.press('Enter');
  await tab.keyboard.press('Tab');
  assert.equal(await operator.focused(), 'Cancel the upload');
  await tab.keyboard.press('Enter');
  await operator.reads('.alerts', /doomed\.bin was cancelled\./);
  assert.equal((await head(doomed.url)).status, 404);
  await operator.row('doomed.bin').waitFor({ state: 'detached' });
  assert.match(await operator.focused(), /^Cancel kept\.bin/);
  sending.end();
});

operatorTest('admin page: what was completed meanwhile is left alone, and that is told', {}, async (server, operator) => {
  const { tab } = operator;
  const upload = await tusUpload(server, 'quick.bin', 10);
  await operator.open(server);
  await operator.row('quick.bin').getByRole('button', { name: /^Cancel/ }).click();
  const sending = await running(upload, 10);
  sending.send(10);
  await until('it is complete', async () => (await head(upload.url)).offset === 10);
  await tab.getByRole('button', { name: 'Cancel the upload' }).click();
  await operator.reads('.alerts', /This upload is complete, so it was left alone\./);
  operator.forgive(/409/);
  sending.end();
});

operatorTest('admin page: a wrong token, then the right one', { flags: ['--admin-token', TOKEN] }, async (server, operator) => {
  const { tab } = operator;
  await tusUpload(server, 'secret.bin', 10);
  await operator.open(server);
  await operator.reads('#sign-in', /Admin token/);
  await tab.waitForFunction(() => document.activeElement.id === 'token');
  await tab.keyboard.type('wrong-horse-battery');
  await tab.keyboard.press('Enter');
  await operator.reads('#token-error', /This is not the server’s admin token\./);
  await tab.waitForFunction(() => document.activeElement.id === 'token' && document.activeElement.value === '');
  await tab.keyboard.type('with blanks in it');
  await tab.keyboard.press('Enter');
  await operator.reads('#token-error', /without blanks/);
  await tab.keyboard.type(TOKEN);
  await tab.keyboard.press('Enter');
  await operator.row('secret.bin').waitFor();
  assert.ok(await tab.locator('#sign-in').isHidden());
  await tab.reload();
  await operator.row('secret.bin').waitFor(); // the tab keeps it
  await tab.getByRole('button', { name: 'Forget the token' }).click();
  await operator.reads('#sign-in', /Admin token/);
  assert.equal(await tab.evaluate(() => sessionStorage.length + localStorage.length), 0);
  operator.forgive(/401/);
  assert.ok(operator.urls.every((url) => !url.includes(TOKEN)));
  assert.ok(!server.log.includes(TOKEN));
});

for (const [level, flags, pattern] of [
  ['yellow', ['--disk-warn', '100%'], /The disk is getting full: .*iB of .*iB are free/],
  ['red', ['--disk-stop', '100%'], /The disk is nearly full: .*New uploads are refused/],
]) {
  operatorTest(`admin page: the disk turns ${level}`, { flags }, async (server, operator) => {
    await operator.open(server);
    await operator.reads('#disk', pattern);
    assert.equal(await operator.tab.locator('#disk').getAttribute('data-level'), level);
    assert.equal(await operator.tab.locator('#disk-bar').getAttribute('data-level'), level);
    await server.stop();
    server.flags = ['--disk-warn', '0'];
    await server.start();
    await operator.tab.locator('#disk').waitFor({ state: 'hidden' });
    operator.complaints = operator.complaints.filter((text) => !/ERR_|503/.test(text)); // it was away for a moment
  });
}

operatorTest('admin page: the server is away and comes back', {}, async (server, operator) => {
  await tusUpload(server, 'before.bin', 10, 5);
  await operator.open(server);
  await operator.shows('before.bin', /50 %/);
  await server.end('SIGKILL');
  await operator.reads('#away', /The server does not answer\. What is shown is from \d\d:\d\d:\d\d\./);
  await operator.reads('#state', /No answer since \d\d:\d\d:\d\d/);
  assert.ok(await operator.row('before.bin').isVisible());
  await server.start();
  await operator.reads('.alerts', /The server (was started again, and answers|answers again)\./);
  await operator.tab.locator('#away').waitFor({ state: 'hidden' });
  await tusUpload(server, 'after.bin', 10);
  await operator.row('after.bin').waitFor();
  await operator.shows('before.bin', /50 %/);
  operator.forgive(/ERR_/);
});

operatorTest('admin page: a hostile file name is a name', {}, async (server, operator) => {
  const { tab } = operator;
  const name = '<img src=x onerror="window.owned = 1"><script>window.owned = 1</script>';
  await tusUpload(server, name, 10);
  const film = await session(server, `"'><svg onload=window.owned=1>`, MiB, MiB);
  await operator.open(server);
  assert.equal(await operator.row(name).locator('.name').innerText(), name);
  await operator.row(film.id.slice(-8)).getByRole('button', { name: /svg onload/ }).first().click();
  await operator.reads('#details', /Metadata: filename "'><svg onload=window\.owned=1>/);
  await tab.keyboard.press('Escape');
  await operator.row(name).getByRole('button', { name: /^Cancel/ }).click();
  await operator.reads('#confirm', /onerror="window\.owned = 1"/);
  assert.equal(await tab.evaluate(() => window.owned), undefined);
  assert.equal(await tab.locator('#rows img, #rows script, #rows svg, dialog img, dialog svg, dialog script').count(), 0);
  assert.ok(operator.urls.every((url) => url.startsWith(server.at('/')) || url.startsWith('data:')), operator.urls.join('\n'));
});

operatorTest('admin page: failures are told by code, and cleaning up what it found', {}, async (server, operator) => {
  await head(server.at('/files/nothing'));
  await operator.open(server);
  await operator.reads('#refusals', /No such upload not-found 1/);
  await operator.reads('#failures', /none/);
  await operator.tab.getByRole('button', { name: 'Clean up now' }).click();
  await operator.reads('.alerts', /There was nothing to remove\./);
  await operator.tab.getByLabel('Find an upload by its id').fill('../cleanup');
  await operator.tab.keyboard.press('Enter');
  await operator.reads('#details-error', /This is not an id/);
  assert.ok(await operator.tab.locator('#plot').getAttribute('aria-label').then((said) => /Bytes received over the last 5 minutes: .* now/.test(said)));
});

operatorTest('admin page: nothing is asked while it is paused', {}, async (server, operator) => {
  await operator.tab.clock.install();
  await operator.open(server);
  await operator.reads('#state', /Live/);
  await operator.tab.getByRole('button', { name: 'Pause updates' }).click();
  await operator.reads('#state', /Paused/);
  const asked = operator.urls.length;
  await tusUpload(server, 'unseen.bin', 10);
  await operator.tab.clock.runFor(60_000);
  assert.equal(operator.urls.length, asked);
  await operator.tab.getByRole('button', { name: 'Resume updates' }).click();
  await operator.row('unseen.bin').waitFor();
});

for (const [where, context] of [
  ['a desktop', { viewport: { width: 1280, height: 800 } }],
  ['a dark phone', { viewport: { width: 360, height: 740 }, colorScheme: 'dark' }],
]) {
  operatorTest(`admin page: on ${where} everything has a name, is legible and fits`, { context }, async (server, operator) => {
    await tusUpload(server, 'n'.repeat(200), 10 * MiB, MiB);
    await operator.open(server);
    await operator.shows('nnn', /10 %/);
    assert.deepEqual(await operator.tab.evaluate(inspect), []);
    await operator.row('nnn').getByRole('button', { name: /^Cancel/ }).click();
    assert.deepEqual(await operator.tab.evaluate(inspect), []);
  });
}

/** Runs in the page: what a person with a screen reader, or with poor eyes, would stumble over. */
function inspect() {
  const found = [];
  const visible = (node) => node.checkVisibility({ visibilityProperty: true });
  const said = (node) => node.getAttribute('aria-label') ?? (node.labels?.[0] ?? node).innerText;
  for (const node of document.querySelectorAll('button, input, select, a[href], dialog[open], [role=img]')) {
    const titled = document.getElementById(node.getAttribute('aria-labelledby'))?.innerText;
    if (visible(node) && !(titled ?? said(node))?.trim()) found.push(`no name: ${node.outerHTML.slice(0, 80)}`);
  }
  const ids = [...document.querySelectorAll('[id]')].map((node) => node.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`id twice: ${id}`);
  for (const table of document.querySelectorAll('table')) {
    if (!table.caption && !table.getAttribute('aria-labelledby')) found.push('a table without a name');
    for (const head of table.querySelectorAll('th')) if (!head.scope) found.push(`no scope: ${head.innerText}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) found.push(`wider than the screen: ${document.documentElement.scrollWidth}`);
  // Contrast as WCAG reckons it, against the nearest ground that is painted.
  const channel = (value) => (value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const [r, g, b, a = 1] = rgb(getComputedStyle(at).backgroundColor);
      if (a === 1) return [r, g, b];
    }
    return [255, 255, 255];
  };
  for (const node of document.querySelectorAll('body *')) {
    const own = [...node.childNodes].some((child) => child.nodeType === Node.TEXT_NODE && child.data.trim());
    if (!own || !visible(node) || node.closest('[aria-disabled=true]')) continue;
    const style = getComputedStyle(node);
    const [one, other] = [light(rgb(node instanceof SVGElement ? style.fill : style.color)), light(ground(node))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (contrast < 4.5) found.push(`contrast ${contrast.toFixed(2)}: ${node.textContent.trim().slice(0, 40)}`);
  }
  return found;
}
