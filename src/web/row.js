/**
 * One upload on the page.
 * @module
 */
import { CHUNK, Upload, UploadError } from './highwater.js';
import { STATES, bytes, duration, percent } from './words.js';

const BUSY = ['starting', 'uploading', 'waiting', 'offline', 'finishing'];
/** No further try makes a file smaller, or its name shorter, or another file of it. */
const IN_VAIN = ['too-large', 'too-small', 'bad-json', 'json-too-large', 'bad-name', 'type-mismatch', 'malware-found'];
/** How often the server is asked about a file of an earlier visit that it still looks through, in milliseconds. */
const CHECKED = 5000;

/** A row: of a file that was chosen, or of an upload of an earlier visit whose file is not here. */
export class Row {
  upload = null;
  unfinished = null;
  #page;
  #view;
  #own = 'queued';
  #error = null;
  #shown = {};
  #kept = 0;
  #keptUntil = null;
  #began = 0;
  #took = 0;
  #note = '';
  #authorization = null;

  /** @param {{ list: Element, template: HTMLTemplateElement, endpoint: string, authorization: () => ?string,
   *   unauthorized: (sent: ?string) => boolean, say: (text: string) => void, choose: (row: Row) => void, draw: () => void,
   *   changed: () => void, gone: (row: Row) => void }} page */
  constructor(page, { file, unfinished }) {
    this.#page = page;
    this.#view = page.template.content.firstElementChild.cloneNode(true);
    this.name = (file ?? unfinished).name;
    this.size = (file ?? unfinished).size;
    this.#part('name').textContent = this.name;
    this.#part('name').title = this.name;
    page.list.append(this.#view);
    if (file) this.take(file);
    else this.#remember(unfinished);
    this.draw();
  }

  get state() {
    const state = this.upload?.state ?? 'idle';
    if (state === 'failed' && this.upload.error.code === 'unauthorized') return 'asked';
    return state === 'idle' ? this.#own : state;
  }

  get busy() {
    return BUSY.includes(this.state);
  }

  get sent() {
    return this.upload ? this.upload.sent : this.#kept;
  }

  /** Whether a file is this row's already. */
  has({ name, size, lastModified }) {
    const file = this.upload?.file;
    if (!file || ['completed', 'cancelled', 'failed'].includes(this.state)) return false;
    return file.name === name && file.size === size && file.lastModified === lastModified;
  }

  /** Whether a file, chosen anew, is what this row lacks. */
  awaits(file) {
    if (this.state === 'unfinished') return Boolean(this.unfinished?.matches(file));
    return this.state === 'failed' && this.name === file.name && this.size === file.size;
  }

  /** Uploads this file, once it is its turn. */
  take(file) {
    const another = this.upload ? this.name !== file.name : this.unfinished && !this.unfinished.matches(file);
    if (another) {
      return this.#fail(new UploadError('another-file', { detail: `${file.name}, ${bytes(file.size)}` }));
    }
    this.#error = null;
    this.#own = 'queued';
    this.#began = 0;
    const old = this.upload;
    const authorization = () => (this.#authorization = this.#page.authorization());
    const upload = new Upload(file, { endpoint: this.#page.endpoint, authorization });
    this.upload = upload;
    this.size = file.size;
    // A file that has changed is another: nobody goes on with what was sent of the earlier one.
    if (old && (old.size !== file.size || old.file.lastModified !== file.lastModified)) old.cancel();
    upload.addEventListener('state', () => this.upload === upload && this.#turned());
    for (const event of ['progress', 'chunk']) upload.addEventListener(event, this.#page.draw);
    upload.addEventListener('restarted', ({ detail }) => {
      this.#note = `${detail.title}: it began again.`;
      this.#page.say(`${this.name}: ${this.#note}`);
    });
    this.#page.changed();
  }

  /** Begins anew, once it is its turn. */
  queue() {
    this.take(this.upload.file);
  }

  begin() {
    this.#began ||= Date.now();
    this.upload.start();
  }

  async #remember(unfinished) {
    this.unfinished = unfinished;
    if (this.#own !== 'checking') this.#own = 'unfinished';
    try {
      const status = await unfinished.status();
      if (status.status === 'completed') return this.remove();
      if (status.status === 'failed') throw new UploadError(status.code);
      this.#own = status.status === 'scanning' ? 'checking' : 'unfinished';
      if (this.#own === 'checking') setTimeout(() => this.upload || this.#remember(unfinished), CHECKED);
      this.#kept = status.bytes_transferred;
      this.#keptUntil = status.expires_at;
    } catch (error) {
      if (error.ended && !this.upload) return this.#fail(error);
    }
    this.#page.changed();
  }

  #fail(error) {
    this.#error = error;
    this.#page.say(`${this.name}: ${error.title}. ${error.advice}`);
    this.#page.changed();
  }

  remove() {
    this.#view.remove();
    this.#page.gone(this);
  }

  #turned() {
    const { state } = this;
    const { error } = this.upload;
    if (state === 'asked') {
      if (!this.#page.unauthorized(this.#authorization)) return this.queue();
    } else if (state === 'completed') {
      this.#took = Date.now() - this.#began;
      this.#page.say(`${this.name}: done.`);
    } else if (['failed', 'offline', 'waiting'].includes(state)) {
      this.#page.say(`${this.name}: ${error.title}. ${error.advice}`);
    } else if (state === 'cancelled') {
      const next = this.#view.nextElementSibling ?? this.#view.previousElementSibling;
      const focused = this.#view.contains(document.activeElement);
      this.remove();
      this.#page.say(`${this.name}: cancelled.`);
      if (focused) (next?.querySelector('button') ?? document.querySelector('#choose')).focus();
    } else if (state === 'paused') this.#page.say(`${this.name}: paused.`);
    this.#page.changed();
  }

  #part(name) {
    return this.#view.getElementsByClassName(name)[0];
  }

  /** Shows everything as it is; what is shown already is not touched, so that nothing is read out twice. */
  draw() {
    const { state } = this;
    const error = this.#error ?? (state === 'asked' ? null : this.upload?.error) ?? null;
    this.#set('class', `row ${error && this.#error ? 'failed' : state}`, (text) => (this.#view.className = text));
    this.#text('state', this.#stateText(state));
    this.#drawBar();
    this.#drawFigures(state);
    this.#drawTrouble(error);
    this.#drawActions(state);
    this.#drawChunks(state);
  }

  #set(key, value, apply) {
    if (this.#shown[key] === value) return;
    this.#shown[key] = value;
    apply(value);
  }

  #text(name, text) {
    this.#set(name, text, () => (this.#part(name).textContent = text));
  }

  #stateText(state) {
    if (this.#error?.ended) return 'Gone';
    if (state === 'waiting' && this.upload.retryAt) {
      return `Trying again in ${duration(Math.max(0, this.upload.retryAt - Date.now()) / 1000)}`;
    }
    return STATES[state];
  }

  #drawBar() {
    const stored = this.upload && this.state !== 'queued' ? this.upload.stored : this.#kept;
    const done = this.state === 'completed';
    const part = (count) => `${done || this.size === 0 ? (done ? 100 : 0) : (count / this.size) * 100}%`;
    this.#set('sent', part(this.sent), (text) => this.#part('sent').style.setProperty('--part', text));
    this.#set('stored', part(stored), (text) => this.#part('stored').style.setProperty('--part', text));
    const bar = this.#part('bar');
    this.#set('label', this.name, (name) => bar.setAttribute('aria-label', `${name}, sent`));
    const now = done ? 100 : this.size === 0 ? 0 : percent(this.sent, this.size);
    this.#set('now', now, (value) => bar.setAttribute('aria-valuenow', value));
    this.#set('valuetext', `${now} %`, (text) => bar.setAttribute('aria-valuetext', text));
  }

  #drawFigures(state) {
    const size = bytes(this.size);
    if (state === 'completed') {
      this.#text('amount', `${size} in ${duration(this.#took / 1000)}`);
    } else if (['queued', 'asked'].includes(state) || (state === 'failed' && this.sent === 0)) this.#text('amount', size);
    else this.#text('amount', `${percent(this.sent, this.size || 1)} % · ${bytes(this.sent)} of ${size}`);
    const { rate = null, secondsLeft = null } = this.upload ?? {};
    this.#text('speed', rate ? `${bytes(Math.round(rate))}/s` : '');
    this.#text('left', secondsLeft === null ? this.#keptText(state) : `${duration(secondsLeft)} left`);
  }

  #keptText(state) {
    if (state !== 'unfinished' || !this.#keptUntil || this.#error?.ended) return '';
    const until = new Date(this.#keptUntil);
    return `kept until ${until.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })}`;
  }

  #drawTrouble(error) {
    const asks = this.state === 'unfinished' && !error;
    const note = this.busy ? this.#note : '';
    this.#set('trouble', Boolean(error || asks || note), (shown) => (this.#part('trouble').hidden = !shown));
    this.#text('title', error?.title ?? (asks ? 'Choose this file again to go on' : note));
    const begun = 'The server has kept what was sent; the browser cannot open the file by itself.';
    this.#text('advice', error?.advice ?? (asks ? begun : ''));
    const code = error && (this.state === 'failed' || this.#error);
    this.#text('code', code ? [error.code, error.status || '', error.detail].filter(Boolean).join(' · ') : '');
  }

  #drawActions(state) {
    const gone = this.#error?.ended;
    const wanted = [];
    if (state === 'unfinished' && !gone) wanted.push(['Choose file', () => this.#page.choose(this), 'primary']);
    if (state === 'failed') {
      const again = this.upload.error?.code === 'unreadable';
      if (again) wanted.push(['Choose file', () => this.#page.choose(this), 'primary']);
      else if (!IN_VAIN.includes(this.upload.error?.code)) wanted.push(['Retry', () => this.#again(), 'primary']);
    }
    if (state === 'paused') wanted.push(['Resume', () => this.#again(), 'primary']);
    if (state === 'waiting') wanted.push(['Try now', () => this.upload.tryNow(), 'primary']);
    if (['starting', 'uploading', 'waiting', 'offline'].includes(state)) wanted.push(['Pause', () => this.upload.pause()]);
    const nothing = state === 'failed' && !this.upload.id;
    if (state === 'completed' || gone || nothing) wanted.push(['Remove from list', () => this.#clear()]);
    else wanted.push(['Cancel', () => this.#cancel()]);
    const key = wanted.map(([label]) => label).join();
    this.#set('actions', key, () => this.#buttons(wanted));
  }

  /** New buttons; who had the focus on one keeps it on the one in its place. */
  #buttons(wanted) {
    const actions = this.#part('actions');
    const at = [...actions.children].indexOf(document.activeElement);
    actions.replaceChildren(
      ...wanted.map(([label, act, kind]) => {
        const button = document.createElement('button');
        button.type = 'button';
        button.textContent = label;
        button.className = kind ?? '';
        button.setAttribute('aria-label', `${label}: ${this.name}`);
        button.onclick = act;
        return button;
      }),
    );
    if (at >= 0) actions.children[Math.min(at, wanted.length - 1)]?.focus();
  }

  #again() {
    this.#note = '';
    this.upload.resume();
  }

  #clear() {
    this.remove();
    document.querySelector('#choose').focus();
  }

  #cancel() {
    if (this.upload) return this.upload.cancel();
    this.unfinished?.cancel();
    this.#page.say(`${this.name}: cancelled.`);
    return this.#clear();
  }

  #drawChunks(state) {
    const chunks = this.upload?.chunks ?? [];
    const shown = chunks.length > 0 && state !== 'completed';
    const canvas = this.#part('chunks');
    this.#set('chunks', shown, () => {
      canvas.hidden = !shown;
      this.#part('counts').hidden = !shown;
    });
    if (!shown) return;
    const counts = [0, 0, 0, 0];
    for (const chunk of chunks) counts[chunk] += 1;
    const parts = [`${counts[CHUNK.STORED]} of ${chunks.length} chunks stored`];
    if (counts[CHUNK.SENDING] && this.busy) parts.push(`${counts[CHUNK.SENDING]} on their way`);
    if (counts[CHUNK.FAILED]) parts.push(`${counts[CHUNK.FAILED]} to be sent again`);
    const text = parts.join(', ');
    this.#text('counts', text);
    this.#set('picture', text, () => canvas.setAttribute('aria-label', text));
    paint(canvas, this.upload);
  }
}

/** The chunks side by side, each filled as far as it was sent. */
function paint(canvas, upload) {
  const ratio = window.devicePixelRatio || 1;
  const [width, height] = [Math.round(canvas.clientWidth * ratio), Math.round(canvas.clientHeight * ratio)];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const style = getComputedStyle(canvas);
  const colour = (name) => style.getPropertyValue(name);
  const [track, wash, accent, bad] = ['--track', '--wash', '--accent', '--bad'].map(colour);
  const context = canvas.getContext('2d');
  context.clearRect(0, 0, width, height);
  const { chunks } = upload;
  const each = width / chunks.length;
  const gap = each > 5 * ratio ? ratio * 2 : each > 3 * ratio ? ratio : 0;
  chunks.forEach((state, at) => {
    const [left, right] = [Math.floor(at * each), Math.max(Math.floor((at + 1) * each) - gap, Math.floor(at * each) + 1)];
    context.fillStyle = state === CHUNK.STORED ? accent : track;
    context.fillRect(left, 0, right - left, height);
    if (state === CHUNK.STORED) return;
    const filled = Math.round(upload.chunkSent(at + 1) * height);
    context.fillStyle = state === CHUNK.FAILED ? bad : wash;
    context.fillRect(left, height - filled, right - left, filled);
    if (state === CHUNK.FAILED) context.fillRect(left, height - 3 * ratio, right - left, 3 * ratio);
  });
}
