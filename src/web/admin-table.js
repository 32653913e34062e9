// The table of uploads: rows are updated where they stand, and never moved or replaced under the user's focus.
import * as words from './admin-words.js';

/** Makes an element; what is in it is text. */
export function element(name, { text, ...attributes } = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** Writes only what is new: a screen reader's place and a selection stay where they are. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function attribute(node, name, value) {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

/** What the server lets an operator cancel: whatever is not complete and not over. */
const cancellable = (upload) => upload.status === 'active' || upload.status === 'failed';
const short = (id) => (id.length > 23 ? `${id.slice(0, 8)}…${id.slice(-8)}` : id);
export const named = (upload) => upload.filename || short(upload.id);

/** Speeds, from how the offset of each upload rose between two answers. */
class Speeds {
  #seen = new Map();

  of(upload, now) {
    const before = this.#seen.get(upload.id);
    const seen = { at: now, offset: upload.offset, rate: null };
    if (before && upload.offset >= before.offset && now > before.at) {
      const rate = (1000 * (upload.offset - before.offset)) / (now - before.at);
      // Evened out, since bytes come in lumps.
      seen.rate = before.rate === null || rate === 0 ? rate : 0.5 * rate + 0.5 * before.rate;
    }
    this.#seen.set(upload.id, seen);
    return seen.rate;
  }

  keep(ids) {
    for (const id of this.#seen.keys()) if (!ids.has(id)) this.#seen.delete(id);
  }

  forget() {
    this.#seen.clear();
  }
}

class Row {
  constructor(actions) {
    this.name = element('button', { type: 'button', class: 'link name' });
    this.id = element('span', { class: 'id' });
    this.status = element('span', { class: 'chip' });
    this.why = element('span', { class: 'small why' });
    this.fill = element('span', { class: 'fill' });
    this.received = element('span', { class: 'received' });
    this.cancel = element('button', { type: 'button', class: 'danger quiet', text: 'Cancel' });
    const bar = element('span', { class: 'bar', 'aria-hidden': 'true' }, this.fill);
    const cell = (label, attributes, ...children) => element('td', { role: 'cell', 'data-label': label, ...attributes }, ...children);
    this.kind = cell('Kind', {});
    this.size = cell('Size', { class: 'number size' });
    this.rate = element('span');
    this.left = element('span', { class: 'small why' });
    this.speed = cell('Speed', { class: 'number' }, this.rate, this.left);
    this.begun = cell('Begun', {});
    this.last = cell('Last bytes', {});
    this.node = element('tr', { role: 'row' },
      element('th', { scope: 'row', role: 'rowheader' }, this.name, this.id),
      this.kind,
      cell('Status', {}, this.status, this.why),
      cell('Received', { class: 'progress' }, bar, this.received),
      this.size, this.speed, this.begun, this.last,
      element('td', { role: 'cell', class: 'action' }, this.cancel));
    this.name.addEventListener('click', () => actions.show(this.upload));
    this.cancel.addEventListener('click', () => actions.cancel(this.upload));
  }

  update(upload, rate, now) {
    this.upload = upload;
    this.node.dataset.id = upload.id;
    write(this.name, named(upload));
    write(this.id, upload.filename ? short(upload.id) : '');
    attribute(this.id, 'title', upload.id);
    write(this.kind, words.kind(upload));
    write(this.status, upload.status);
    attribute(this.status, 'data-status', upload.receiving ? 'receiving' : upload.status);
    write(this.why, this.#why(upload));
    this.#progress(upload);
    write(this.size, upload.length === null ? 'not known yet' : words.bytes(upload.length));
    const moves = upload.status === 'active' && rate > 0;
    write(this.rate, moves ? words.speed(rate) : '–');
    write(this.left, moves && upload.length !== null ? `${words.duration((upload.length - upload.offset) / rate)} left` : '');
    this.#when(this.begun, upload.created_at, now);
    this.#when(this.last, upload.touched_at, now);
    const over = !cancellable(upload);
    if (over && document.activeElement === this.cancel) this.name.focus();
    this.cancel.hidden = over;
    attribute(this.cancel, 'aria-label', `Cancel ${named(upload)}${upload.filename ? `, ${short(upload.id)}` : ''}`);
  }

  #why(upload) {
    if (upload.failure) return words.failed(upload.failure);
    if (upload.status !== 'active') return '';
    if (upload.receiving) return 'receiving';
    return upload.kind === 'final' && !upload.session ? 'waits for its parts' : 'waits for bytes';
  }

  #progress(upload) {
    const share = upload.length === null ? null : upload.length === 0 ? 1 : upload.offset / upload.length;
    const bytes = words.bytes(upload.offset);
    write(this.received, share === null ? bytes : `${words.percent(upload.offset, upload.length)} · ${bytes}`);
    // Through the object model: a style attribute is what the page's policy forbids.
    this.fill.style.setProperty('--share', String(share ?? 0));
    attribute(this.fill, 'data-status', upload.status);
  }

  #when(cell, time, now) {
    write(cell, `${words.roughly((now - Date.parse(time)) / 1000)} ago`);
    attribute(cell, 'title', words.date(time));
  }
}

export class Table {
  #rows = new Map();
  #speeds = new Speeds();

  /** `actions.show(upload)` and `actions.cancel(upload)`; `refuge` takes the focus of the last row that went away. */
  constructor(body, refuge, actions) {
    this.body = body;
    this.refuge = refuge;
    this.actions = actions;
  }

  /** Shows these uploads, in this order. `now` is the time of the answer by the server's clock. */
  show(uploads, now) {
    const ids = new Set(uploads.map((upload) => upload.id));
    const lost = this.#lostFocus(ids);
    for (const [id, row] of this.#rows) {
      if (!ids.has(id)) row.node.remove(), this.#rows.delete(id);
    }
    this.#speeds.keep(ids);
    const rows = uploads.map((upload) => {
      const row = this.#rows.get(upload.id) ?? new Row(this.actions);
      this.#rows.set(upload.id, row);
      row.update(upload, this.#speeds.of(upload, now), now);
      return row;
    });
    this.#arrange(rows.map((row) => row.node));
    if (lost) this.#refocus(lost);
  }

  /** Another selection: speeds begin anew with what is shown then. */
  forget() {
    this.#speeds.forget();
  }

  /** Puts the rows in order around the one that has the focus: a node that is moved would lose it. */
  #arrange(nodes) {
    const focused = nodes.findIndex((node) => node.contains(document.activeElement));
    const from = Math.max(focused, 0);
    if (nodes.length > 0 && focused < 0 && this.body.firstElementChild !== nodes[0]) this.body.prepend(nodes[0]);
    for (let n = from; n > 0; n -= 1) {
      if (nodes[n].previousElementSibling !== nodes[n - 1]) nodes[n].before(nodes[n - 1]);
    }
    for (let n = from; n < nodes.length - 1; n += 1) {
      if (nodes[n].nextElementSibling !== nodes[n + 1]) nodes[n].after(nodes[n + 1]);
    }
  }

  /** Where the focus is, if its row is about to go, or the control in it. */
  #lostFocus(ids) {
    const node = document.activeElement?.closest?.('tr');
    if (!node || !this.body.contains(node)) return null;
    if (ids.has(node.dataset.id)) return null;
    return { at: [...this.body.children].indexOf(node), control: document.activeElement.classList.contains('name') ? '.name' : '.action button' };
  }

  #refocus({ at, control }) {
    const left = [...this.body.children];
    const row = left[Math.min(at, left.length - 1)];
    const target = row && [row.querySelector(control), row.querySelector('.name')].find((node) => node && !node.hidden);
    (target ?? this.refuge).focus();
  }
}
