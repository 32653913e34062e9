// The parts of the client module that need no browser: SHA-256, patience, pace, the ledger of chunks, and the words for
// every code that the server knows.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';

const source = new URL('../../../src/', import.meta.url);

/** A module without imports, as the server serves it. */
async function load(name) {
  const text = await readFile(new URL(`web/${name}`, source), 'utf8');
  return import(`data:text/javascript;base64,${Buffer.from(text).toString('base64')}`);
}

const { Sha256, base64, sha256 } = await load('sha256.js');
const { LEAST_PART, Rate, backoff, chunkSizeFor, firstPace, nextPace, retryAfter } = await load('policy.js');
const { CHUNK, Ledger } = await load('ledger.js');
const { CODES, UploadError, refused } = await load('errors.js');
const { atMost, bytes, duration, percent } = await load('words.js');

test('SHA-256: the vectors of FIPS 180-4', async () => {
  for (const [text, sum] of [
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1',
    ],
    ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0'],
  ]) {
    assert.equal(new Sha256().update(Buffer.from(text)).hex(), sum);
    assert.equal(await sha256(new Blob([text]), null), sum, 'without crypto.subtle');
    assert.equal(await sha256(new Blob([text])), sum, 'with it');
  }
  assert.equal(base64('00ff10'), 'AP8Q');
});

test('SHA-256: every length around a block, in pieces of every kind', () => {
  for (let length = 0; length < 260; length += 1) {
    const data = randomBytes(length);
    const wanted = createHash('sha256').update(data).digest('hex');
    for (const piece of [1, 7, 63, 64, 65, 200]) {
      const sum = new Sha256();
      for (let at = 0; at < length; at += piece) sum.update(data.subarray(at, at + piece));
      assert.equal(sum.hex(), wanted, `${length} bytes by ${piece}`);
    }
  }
});

test('backoff doubles up to a cap, and half of it is thrown', () => {
  const waits = (random) => [1, 2, 3, 4, 9, 1000].map((attempt) => backoff(attempt, { random: () => random }));
  assert.deepEqual(waits(1), [1000, 2000, 4000, 8000, 30_000, 30_000]);
  assert.deepEqual(waits(0), [500, 1000, 2000, 4000, 15_000, 15_000]);
});

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-01-01T00:00:00Z');
  for (const [text, wait] of [
    ['5', 5000],
    [' 0 ', 0],
    ['Thu, 01 Jan 2026 00:00:09 GMT', 9000],
    ['Wed, 31 Dec 2025 00:00:00 GMT', 0],
    ['86400', 600_000],
    ['-1', 0],
    ['soon', 0],
    ['', 0],
    [null, 0],
  ]) {
    assert.equal(retryAfter(text, now), wait, `${text}`);
  }
});

const MiB = 1024 * 1024;
/** The pace after requests `[ok, milliseconds]`, one after the other. */
function after(pace, ...requests) {
  let now = pace.since + 1;
  for (const [ok, took] of requests) {
    pace = nextPace(pace, { ok, bytes: pace.part, began: now, ended: now + took });
    now += took + 1;
  }
  return pace;
}

test('failures make fewer and smaller pieces, and successes more again', () => {
  const begun = firstPace(MiB, 4);
  assert.deepEqual([begun.parallel, begun.part], [4, MiB]);
  const hit = after(begun, [false, 10]);
  assert.deepEqual([hit.parallel, hit.part], [2, MiB / 2]);
  const worse = after(hit, ...Array(20).fill([false, 10]));
  assert.deepEqual([worse.parallel, worse.part], [1, LEAST_PART], 'and no less');
  const well = after(worse, ...Array(100).fill([true, 100]));
  assert.deepEqual([well.parallel, well.part], [4, MiB]);
  // Larger ones come first: they cost the least.
  const soon = after(hit, ...Array(4).fill([true, 100]));
  assert.deepEqual([soon.parallel, soon.part], [2, MiB]);
});

test('of requests that fail together one counts', () => {
  let pace = firstPace(MiB, 4);
  for (let n = 0; n < 4; n += 1) pace = nextPace(pace, { ok: false, bytes: MiB, began: 5, ended: 100 + n });
  assert.deepEqual([pace.parallel, pace.part], [2, MiB / 2]);
  pace = nextPace(pace, { ok: false, bytes: MiB, began: 101, ended: 200 });
  assert.deepEqual([pace.parallel, pace.part], [1, MiB / 4]);
});

test('round trips that grow make fewer and smaller pieces', () => {
  const quick = after(firstPace(MiB, 4), [true, 300], [true, 300]);
  assert.deepEqual([quick.parallel, quick.part], [4, MiB]);
  const slow = after(quick, [true, 2500]);
  assert.deepEqual([slow.parallel, slow.part], [3, MiB / 2]);
  const endless = after(firstPace(MiB, 4), [true, 16_000]);
  assert.deepEqual([endless.parallel, endless.part], [3, MiB / 2], 'a first one, too, when it takes too long');
  const short = after(after(firstPace(MiB, 4), [true, 10]), [true, 900]);
  assert.equal(short.parallel, 4, 'what takes less than a second is never slow');
  const used = after(quick, ...Array(200).fill([true, 1500]));
  assert.deepEqual([used.parallel, used.part], [4, MiB], 'a network that is slower for good is met anew');
});

test('chunks of very large files are larger', () => {
  assert.equal(chunkSizeFor(10_000 * MiB), undefined);
  assert.equal(chunkSizeFor(10_000 * MiB + 1), 2 * MiB);
  assert.equal(chunkSizeFor(5e12), 64 * MiB);
});

test('rate: over the last seconds, and anew after a step back', () => {
  const rate = new Rate(1000);
  assert.equal(rate.at(0), null);
  for (let now = 0; now <= 2000; now += 100) rate.add(now * 2, now);
  assert.equal(Math.round(rate.at(2000)), 2000);
  assert.ok(rate.at(4000) < 1000, 'it falls while nothing comes');
  rate.add(0, 4000);
  assert.equal(rate.at(4100), null);
});

test('the ledger counts what is stored and what is on its way', () => {
  const told = { chunk_size: 10, uploaded_chunks: [1], partial: [{ chunk: 3, offset: 4 }] };
  const ledger = Ledger.of(25, told);
  assert.deepEqual([ledger.stored, ledger.sent, ledger.missing()], [14, 14, [3, 2]]);
  ledger.fly(3, 99);
  assert.deepEqual(ledger.entry(3), { chunk: 3, state: CHUNK.SENDING, sent: 5, size: 5 });
  ledger.fly(2, 7);
  assert.deepEqual([ledger.stored, ledger.sent], [14, 22]);
  ledger.fail(2);
  assert.deepEqual([ledger.sent, ledger.entry(2).state], [15, CHUNK.FAILED]);
  assert.ok(ledger.store(2) && !ledger.store(2) && !ledger.store(4) && !ledger.store(0));
  assert.ok(!ledger.fly(2, 1), 'what is stored is not sent');
  ledger.fail(2);
  assert.ok(ledger.store(3));
  assert.deepEqual([ledger.stored, ledger.sent, ledger.missing()], [25, 25, []]);
  assert.deepEqual(Ledger.of(25, { chunk_size: 10, status: 'completed' }).stored, 25);
  assert.deepEqual(Ledger.of(0, { chunk_size: 10 }).missing(), []);
});

// Codes of doors that the client module does not use, or of requests that it never makes.
const OTHERS = ['bad-part', 'too-many-parts', 'bad-subscription', 'bad-query', 'range',
  'upgrade-required', 'too-many-subscriptions', 'chunk-of-session'];

test('every code of the server has words that say what to do', async () => {
  const table = await readFile(new URL('error.rs', source), 'utf8');
  const failures = await readFile(new URL('upload.rs', source), 'utf8');
  const found = [...table.matchAll(/=> \(\d{3}, "([a-z-]+)"\)/g), ...failures.matchAll(/Self::\w+ => "([a-z]+-[a-z-]+)"/g)];
  const codes = new Set(found.map(([, code]) => code));
  assert.ok(codes.size > 40 && codes.has('file-hash-mismatch') && codes.has('out-of-space'), [...codes].join());
  for (const code of codes) {
    if (OTHERS.includes(code)) continue;
    assert.ok(CODES.includes(code), `no words for ${code}`);
  }
  for (const code of CODES) {
    const { title, advice, passing, ended } = new UploadError(code);
    assert.ok(title.length > 10 && !/[.:]$/.test(title), title);
    assert.match(advice, /^[A-Z].*\.$/s, code);
    assert.ok(!(passing && ended), code);
  }
});

test('an answer becomes an error', () => {
  const problem = JSON.stringify({ code: 'too-large', detail: 'at most 5 bytes' });
  const error = refused(413, problem, { wait: 0, offset: null });
  assert.deepEqual([error.code, error.status, error.detail, error.passing], ['too-large', 413, 'at most 5 bytes', false]);
  const code = (status, text = '<html>') => refused(status, text, {}).code;
  assert.deepEqual([502, 429, 413, 404, 302].map((status) => code(status)), [
    'server-busy', 'server-busy', 'too-large', 'unexpected', 'unexpected',
  ]);
  const unknown = refused(503, '{"code":"new-here"}', {});
  assert.ok(unknown.passing && unknown.title, 'a newer server has codes that are not known here');
  const tried = new UploadError('network');
  tried.giveUp();
  assert.ok(!tried.passing && /Retry/.test(tried.advice));
});

test('numbers in words', () => {
  assert.deepEqual([0, 1, 999, 1500, 5_000_000, 999_960].map((count) => bytes(count)), [
    '0 bytes', '1 byte', '999 bytes', '1.5 kB', '5 MB', '1 MB',
  ]);
  assert.deepEqual([0, 59, 90, 3600 * 2, 86_400 * 3].map(duration), ['1 s', '59 s', '2 min', '2 h 0 min', '3 days']);
  assert.deepEqual([1024 ** 3, 1_999_999].map((count) => atMost(count)), ['1.07 GB', '1.99 MB']);
  assert.deepEqual([percent(0, 0), percent(999, 1000), percent(5, 5)], [100, 99, 100]);
});
