// A file's two bars: what the browser has sent, and what is safe on the server.

const template = document.querySelector('template#file');
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export class FileBars {
  /** The file's upload on the server, or those of its parts: upload id → the last message about it, null before the first. */
  uploads = new Map();
  #sent = 0;
  #safe = 0;
  #ofParts = false;

  constructor(name, size) {
    this.size = size;
    this.element = template.content.firstElementChild.cloneNode(true);
    this.element.querySelector('h3').textContent = name;
    this.#draw();
  }

  /** What Uppy says: the bytes that the browser has handed on, wherever on the way they are. */
  sent(bytes) {
    this.#sent = bytes;
    this.#draw();
  }

  /** The file is, or has as one of its parts, this upload. Gives the uploads that are out of date with that. */
  belongs(id, isPart) {
    if (this.uploads.has(id)) return [];
    const old = isPart && this.#ofParts ? [] : [...this.uploads.keys()];
    this.#ofParts = isPart;
    this.uploads.set(id, null);
    for (const each of old) this.uploads.delete(each);
    return old;
  }

  /** What the server says of one of the uploads. */
  told(message) {
    this.uploads.set(message.upload_id, message);
    this.#draw();
  }

  #draw() {
    const messages = [...this.uploads.values()].filter(Boolean);
    // Until the server speaks of a new upload (parts that were joined), what it said before stands.
    if (messages.length > 0) this.#safe = sum(messages.map((message) => message.bytes_transferred ?? 0));
    const safe = this.#safe;
    // What is safe was sent, even where the browser has not said so yet: it counts a few times a second only.
    const sent = Math.max(this.#sent, safe);
    this.#bar('.sent', sent, [`${bytes(sent)} of ${bytes(this.size)}`]);
    this.#bar('.safe', safe, [`${bytes(safe)} of ${bytes(this.size)}`, ...this.#state(messages)]);
  }

  #bar(kind, done, figures) {
    const bar = this.element.querySelector(`${kind} progress`);
    // A file of no bytes is done when the server says so.
    const ended = [...this.uploads.values()].some((message) => message?.status === 'completed');
    bar.value = this.size > 0 ? done / this.size : Number(ended);
    bar.dataset.bytes = done;
    this.element.querySelector(`${kind} .figures`).textContent = figures.join(' · ');
  }

  /** In words, what the server said last. */
  #state(messages) {
    const refused = messages.find((message) => message.code && (message.event === 'error' || message.status === 'failed'));
    if (refused) return [`refused: ${refused.code}`];
    const open = messages.filter((message) => message.status === 'active');
    if (messages.length === 0) return [];
    if (open.length === 0) return [this.#ofParts ? 'every part is there' : messages[0].status];
    if (open.every((message) => message.event === 'upload_paused' || message.paused)) return ['paused'];
    const rate = sum(open.map((message) => message.rate_bytes_per_second));
    if (rate === 0) return [];
    // Parts are sent side by side: the last one to end is the end.
    const left = open.map((message) => message.estimated_time_seconds);
    return [`${bytes(rate)}/s`, ...(left.includes(null) ? [] : [`${time(Math.max(...left))} left`])];
  }
}

const sum = (numbers) => numbers.reduce((total, each) => total + each, 0);

function bytes(count) {
  const power = Math.min(UNITS.length - 1, Math.floor(Math.log2(Math.max(1, count)) / 10));
  return `${(count / 1024 ** power).toFixed(power > 1 ? 1 : 0)} ${UNITS[power]}`;
}

function time(seconds) {
  if (seconds < 90) return `${Math.ceil(seconds)} s`;
  const minutes = Math.ceil(seconds / 60);
  return minutes < 90 ? `${minutes} min` : `${Math.ceil(minutes / 60)} h`;
}
