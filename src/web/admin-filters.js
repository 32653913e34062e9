// Which uploads are shown, in which order, and which page of them.
import { element, write } from './admin-table.js';
import { KINDS, STATUSES, counted, number } from './admin-words.js';

const $ = (id) => document.getElementById(id);
const OPEN = ['active', 'scanning', 'assembling'];

export class Filters {
  /** Where each page up to this one begins; the first one has no cursor. */
  #cursors = [''];
  #next = null;

  /** `changed` is called after each change by the user. */
  constructor(changed) {
    this.changed = changed;
    const box = (name, text, checked) => {
      const input = element('input', { type: 'checkbox', value: name });
      input.checked = checked;
      return element('label', { class: 'choice' }, input, element('span', { text }), element('span', { class: 'count' }));
    };
    $('statuses').append(...STATUSES.map((status) => box(status, status, OPEN.includes(status))));
    $('kinds').append(...Object.entries(KINDS).map(([kind, text]) => box(kind, kind === 'final' ? `${text} or session` : text, true)));
    $('filters').addEventListener('change', () => this.#select());
    $('limit').addEventListener('change', () => this.#select());
    $('filters').addEventListener('submit', (event) => event.preventDefault());
    for (const head of document.querySelectorAll('th[data-sort]')) {
      head.querySelector('button').addEventListener('click', () => this.#sort(head.dataset.sort));
    }
    $('next').addEventListener('click', () => this.#forward());
    $('previous').addEventListener('click', () => this.#back());
    this.#mark();
  }

  /** The query of the page that is to be shown. */
  query() {
    const checked = (id) => [...$(id).querySelectorAll('input:checked')].map((input) => input.value).join(',');
    const [sort, order] = $('sort').value.split(' ');
    // Nothing chosen is no filter: a list of nothing would say nothing.
    const query = new URLSearchParams({ status: checked('statuses') || 'all', sort, order, limit: $('limit').value });
    if (checked('kinds')) query.set('kind', checked('kinds'));
    const [name, seconds] = $('age').value.split('=');
    if (name) query.set(name, seconds);
    const cursor = this.#cursors.at(-1);
    if (cursor) query.set('cursor', cursor);
    return query;
  }

  /** What the server says of the page asked for by `query`, and how many uploads there are of each status. */
  told({ uploads, matching, next_cursor: next }, counts, query) {
    for (const input of $('statuses').querySelectorAll('input')) {
      write(input.parentElement.querySelector('.count'), number(counts[input.value] ?? 0));
    }
    this.#next = next;
    if (uploads.length === 0 && this.#cursors.length > 1) return this.#back(); // what this page showed is gone
    const limit = Number(query.get('limit'));
    const pages = Math.max(1, Math.ceil(matching / limit), this.#cursors.length);
    write($('page'), `Page ${number(this.#cursors.length)} of ${number(pages)} · ${counted(matching, 'upload')}`);
    write($('caption'), `Uploads: ${this.#said(query)}`);
    // Not disabled: a button that has the focus would lose it with the last page.
    $('next').setAttribute('aria-disabled', String(!next));
    $('previous').setAttribute('aria-disabled', String(this.#cursors.length === 1));
    $('empty').hidden = uploads.length > 0;
    const none = Object.values(counts).every((count) => count === 0);
    write($('empty-text'), none ? 'No uploads yet. The first one shows up here as soon as it begins.' : 'No upload is like that. Choose other statuses or kinds, or another time.');
  }

  #said(query) {
    const status = query.get('status') === 'all' ? 'of every status' : query.get('status').replaceAll(',', ' or ');
    return `${status}, ${$('sort').selectedOptions[0].textContent}`;
  }

  #select() {
    this.#cursors = [''];
    this.#mark();
    this.#turned();
  }

  /** Which page comes next is not known until this one is told: a cursor holds for its own order alone. */
  #turned() {
    this.#next = null;
    $('next').setAttribute('aria-disabled', 'true');
    this.changed();
  }

  #forward() {
    if (!this.#next) return;
    this.#cursors.push(this.#next);
    this.#turned();
  }

  #back() {
    if (this.#cursors.length === 1) return;
    this.#cursors.pop();
    this.#turned();
  }

  /** By this column; the other way round if it is by this one already. */
  #sort(name) {
    const [sort, order] = $('sort').value.split(' ');
    const falling = sort === name ? order === 'asc' : name !== 'id';
    $('sort').value = `${name} ${falling ? 'desc' : 'asc'}`;
    this.#select();
  }

  #mark() {
    const [sort, order] = $('sort').value.split(' ');
    for (const head of document.querySelectorAll('th[data-sort]')) {
      if (head.dataset.sort === sort) head.setAttribute('aria-sort', order === 'asc' ? 'ascending' : 'descending');
      else head.removeAttribute('aria-sort');
    }
  }
}
