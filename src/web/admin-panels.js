// What stands around the table: figures, the throughput plot, storage, failures, times.
import { element, write } from './admin-table.js';
import * as words from './admin-words.js';

const $ = (id) => document.getElementById(id);

/** Children of a list by a key: each is updated where it stands, and made or removed only when it comes or goes. */
function keyed(parent, items, make, update) {
  const there = new Map([...parent.children].map((node) => [node.dataset.key, node]));
  let before = null;
  for (const item of items) {
    let node = there.get(item.key);
    there.delete(item.key);
    if (!node) {
      node = make(item);
      node.dataset.key = item.key;
    }
    const place = before ? before.nextSibling : parent.firstChild;
    if (node !== place) parent.insertBefore(node, place);
    update(node, item);
    before = node;
  }
  for (const node of there.values()) node.remove();
}

export function tiles(metrics) {
  const { bytes_per_second: rate, uploads, since_start: since } = metrics;
  write($('rate'), words.speed(rate.now));
  write($('rates'), ['1', '5', '15'].map((minutes) => `${minutes}\u00a0min: ${words.speed(rate[`${minutes}m`])}`).join(' · '));
  write($('open'), words.number(uploads.active + uploads.scanning + uploads.assembling));
  const resumed = since.resumes > 0 ? ` · ${words.counted(since.resumes, 'resume')} so far` : '';
  write($('receiving'), `${metrics.receiving === 0 ? 'no bytes come in now' : `${words.counted(metrics.receiving, 'body comes', 'bodies come')} in now`}${resumed}`);
  const ended = since.completed + since.failed + since.cancelled + since.expired;
  write($('success'), metrics.success_rate === null ? '–' : words.percent(since.completed, ended));
  write($('ended'), ended === 0 ? 'nothing has ended since the start'
    : ['completed', 'failed', 'cancelled', 'expired'].map((end) => words.counted(since[end], end, end)).join(', '));
  write($('uptime'), `up ${words.roughly(metrics.uptime_seconds)}`);
  write($('memory'), metrics.memory_bytes === null ? '' : `${words.bytes(metrics.memory_bytes)} of memory`);
}

/** A bar of parts that lie side by side; what they mean is said in words beside it. */
function stack(bar, parts) {
  keyed(bar, parts.filter((part) => part.share > 0), (part) => element('span', { 'data-part': part.key }), (node, part) => {
    node.style.setProperty('--share', String(part.share));
  });
}

export function storage(told) {
  const { disk, by_status: amounts, reclaimable, expiring_within_an_hour: soon } = told;
  const sum = words.STATUSES.reduce((all, status) => all + amounts[status].allocated_bytes, 0);
  const counts = words.STATUSES.reduce((all, status) => all + amounts[status].uploads, 0);
  if (disk) {
    const [free, size] = [disk.free_bytes, Math.max(disk.size_bytes, 1)];
    write($('disk-text'), `${words.bytes(free)} of ${words.bytes(disk.size_bytes)} free (${words.percent(free, size)})`);
    const other = Math.max(0, size - free - sum);
    $('disk-bar').dataset.level = disk.level;
    stack($('disk-bar'), [{ key: 'uploads', share: sum / size }, { key: 'other', share: other / size }]);
  } else {
    write($('disk-text'), 'The store cannot tell how much space there is.');
  }
  write($('uploads-text'), `${words.bytes(sum)} in ${words.counted(counts, 'upload')}, ${words.counted(told.files, 'file')}`);
  const parts = words.STATUSES.map((key) => ({ key, ...amounts[key], share: sum > 0 ? amounts[key].allocated_bytes / sum : 0 }));
  stack($('uploads-bar'), parts);
  keyed($('uploads-legend'), parts.filter((part) => part.uploads > 0 || part.allocated_bytes > 0),
    (part) => element('li', {}, element('span', { class: 'swatch', 'data-part': part.key, 'aria-hidden': 'true' }), element('span', { text: part.key }), element('b')),
    (node, part) => write(node.lastChild, `${words.bytes(part.allocated_bytes)} in ${words.number(part.uploads)}`));
  const said = [`${words.bytes(reclaimable.allocated_bytes)} reclaimable`];
  if (soon.uploads > 0) said.push(`${words.counted(soon.uploads, 'upload')} with ${words.bytes(soon.allocated_bytes)} expire within the hour`);
  write($('reclaimable'), said.join(' · '));
}

/** What is said of the disk's level; nothing while there is enough space. */
export function diskAlert(disk) {
  const alert = $('disk');
  const level = disk?.level ?? 'green';
  alert.hidden = level === 'green';
  alert.dataset.level = level;
  const free = disk ? `${words.bytes(disk.free_bytes)} of ${words.bytes(disk.size_bytes)} are free` : '';
  const said = {
    green: '',
    yellow: `The disk is getting full: ${free}. Uploads still work; make room before they do not.`,
    red: `The disk is nearly full: ${free}. New uploads are refused, those that are open go on.`,
  };
  // Said again only when the level changes: numbers that run are not to be read out.
  if (alert.dataset.said !== level) write(alert, said[level]);
  alert.dataset.said = level;
}

const MOST = 8;

function counts(list, codes, word, none) {
  const sorted = Object.entries(codes).filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  const items = sorted.slice(0, MOST).map(([code, count]) => ({ key: code, text: word(code), count: words.number(count) }));
  const rest = sorted.slice(MOST).reduce((all, [, count]) => all + count, 0);
  if (rest > 0) items.push({ key: '', text: 'for other reasons', count: words.number(rest) });
  if (items.length === 0) items.push({ key: '', text: none, count: '' });
  keyed(list, items, () => element('li', {}, element('span'), element('code'), element('b')), (node, item) => {
    write(node.children[0], item.text);
    write(node.children[1], item.key !== item.text ? item.key : '');
    write(node.children[2], item.count);
  });
}

export function failures(metrics) {
  counts($('failures'), metrics.failures, words.failed, 'none');
  counts($('refusals'), metrics.refusals, words.refused, 'none');
}

const TIMES = [['upload', 'Uploads, from begin to end'], ['chunk', 'Bodies of bytes'], ['request', 'Requests'], ['lock_wait', 'Waits for an upload in use']];

export function times(metrics) {
  const items = TIMES.map(([key, text]) => ({ key, text, ...metrics.durations_seconds[key] }));
  const cells = () => ['p50', 'p90', 'p99'].map(() => element('td', { class: 'number' }));
  keyed($('times'), items, (item) => element('tr', {}, element('th', { scope: 'row', text: item.text }), ...cells()), (node, item) => {
    [item.p50, item.p90, item.p99].forEach((time, n) => write(node.children[n + 1], words.measured(time)));
  });
}
