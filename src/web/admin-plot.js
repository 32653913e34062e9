// The throughput plot: an SVG drawn from the measurements of the last minutes.
import { bytes, clock, speed } from './admin-words.js';

const MINUTES = 5;
const WINDOW = MINUTES * 60_000;
/** Two measurements further apart than this have a gap between them: nobody looked. */
const GAP = 30_000;
const EDGE = { left: 74, right: 14, top: 12, bottom: 24 };

function shape(name, attributes, text) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** The least power of two times 1 KiB that four steps of reach the top. */
function step(top) {
  let size = 1024;
  while (size * 4 < top) size *= 2;
  return size;
}

export class Plot {
  #points = [];
  #pointer = null;

  constructor(svg) {
    this.svg = svg;
    new ResizeObserver(() => this.draw()).observe(svg);
    svg.addEventListener('pointermove', (event) => {
      this.#pointer = event.clientX - svg.getBoundingClientRect().left;
      this.draw();
    });
    svg.addEventListener('pointerleave', () => {
      this.#pointer = null;
      this.draw();
    });
  }

  /** One more measurement: `rate` in bytes a second, `null` where there is none. */
  add(rate, at = Date.now()) {
    this.#points.push({ at, rate });
    while (this.#points[0].at < at - WINDOW - GAP) this.#points.shift();
    this.draw(at);
  }

  draw(now = Date.now()) {
    const { width, height } = this.svg.getBoundingClientRect();
    if (width < 100 || height < 60) return;
    const known = this.#points.filter((point) => point.rate !== null && point.at >= now - WINDOW);
    const top = Math.max(...known.map((point) => point.rate), 1);
    const size = step(top);
    const full = size * Math.ceil(top / size);
    const place = {
      x: (at) => EDGE.left + ((at - now + WINDOW) / WINDOW) * (width - EDGE.left - EDGE.right),
      y: (rate) => height - EDGE.bottom - (rate / full) * (height - EDGE.top - EDGE.bottom),
    };
    this.svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    const parts = [...this.#grid(place, { width, full, size, height }), ...this.#lines(place, now), ...this.#reading(place, known, { width, height })];
    this.svg.replaceChildren(...parts);
    this.#describe(known);
  }

  *#grid(place, { width, height, full, size }) {
    for (let rate = 0; rate <= full; rate += size) {
      const y = place.y(rate);
      yield shape('line', { class: rate === 0 ? 'base' : 'grid', x1: EDGE.left, x2: width - EDGE.right, y1: y, y2: y });
      yield shape('text', { class: 'tick', x: EDGE.left - 8, y: y + 4, 'text-anchor': 'end' }, rate === 0 ? '0' : `${bytes(rate)}/s`);
    }
    const every = width < 420 ? 2 : 1;
    for (let minutes = MINUTES; minutes >= 0; minutes -= 1) {
      if (minutes % every !== 0) continue;
      const x = EDGE.left + ((MINUTES - minutes) / MINUTES) * (width - EDGE.left - EDGE.right);
      yield shape('text', { class: 'tick', x, y: height - 6, 'text-anchor': minutes === 0 ? 'end' : 'middle' }, minutes === 0 ? 'now' : `${minutes} min`);
    }
  }

  *#lines(place, now) {
    for (const run of this.#runs(now)) {
      const line = run.map(({ at, rate }) => `${Math.max(place.x(at), EDGE.left).toFixed(1)} ${place.y(rate).toFixed(1)}`);
      const [first, last] = [run[0], run.at(-1)].map(({ at }) => Math.max(place.x(at), EDGE.left).toFixed(1));
      if (run.length > 1) {
        yield shape('path', { class: 'area', d: `M${first} ${place.y(0)}L${line.join('L')}L${last} ${place.y(0)}Z` });
        yield shape('path', { class: 'rate', d: `M${line.join('L')}` });
      }
      if (run.at(-1) === this.#points.at(-1)) yield shape('circle', { class: 'last', cx: last, cy: place.y(run.at(-1).rate), r: 3.5 });
    }
  }

  /** Measurements that belong together, without what is too old. */
  #runs(now) {
    const runs = [[]];
    for (const point of this.#points.filter(({ at }) => at >= now - WINDOW)) {
      const run = runs.at(-1);
      if (point.rate === null || (run.length > 0 && point.at - run.at(-1).at > GAP)) runs.push(point.rate === null ? [] : [point]);
      else run.push(point);
    }
    return runs.filter((run) => run.length > 0);
  }

  /** What is under the pointer. */
  *#reading(place, known, { width, height }) {
    if (this.#pointer === null || known.length === 0) return;
    const away = (point) => Math.abs(place.x(point.at) - this.#pointer);
    const nearest = known.reduce((best, point) => (away(point) < away(best) ? point : best));
    const x = place.x(nearest.at);
    yield shape('line', { class: 'pointer', x1: x, x2: x, y1: EDGE.top, y2: height - EDGE.bottom });
    yield shape('circle', { class: 'last', cx: x, cy: place.y(nearest.rate), r: 3.5 });
    const left = x > width / 2;
    yield shape('text', { class: 'reading', x: x + (left ? -8 : 8), y: EDGE.top + 10, 'text-anchor': left ? 'end' : 'start' },
      `${speed(nearest.rate)} at ${clock(nearest.at)}`);
  }

  #describe(known) {
    const last = known.at(-1);
    const most = Math.max(...known.map((point) => point.rate));
    const said = last ? `Bytes received over the last ${MINUTES} minutes: ${speed(last.rate)} now, at most ${speed(most)}` : 'No measurements yet';
    this.svg.setAttribute('aria-label', said);
  }
}
