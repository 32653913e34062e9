// The upload page: files in, rows out.
import { Upload } from './highwater.js';
import { Row } from './row.js';
import { SignIn } from './sign-in.js';
import { atMost, duration, percent } from './words.js';

/** So many files at a time; the others wait. */
const AT_ONCE = 3;

const find = (id) => document.getElementById(id);
/** @type {Row[]} */
const rows = [];
let wanted = null;
let drawing = false;
const signIn = new SignIn(find('sign-in'), () => {
  for (const row of rows) if (row.state === 'asked') row.queue();
  page.changed();
});

const page = {
  list: find('list'),
  template: find('row'),
  endpoint: new URL('uploads/', document.baseURI).href,
  authorization: signIn.authorization,
  unauthorized: (sent) => signIn.refused(sent),
  say(text) {
    find('said').textContent = text;
  },
  choose(row) {
    wanted = row;
    find('again').click();
  },
  draw,
  changed() {
    turn();
    draw();
  },
  gone(row) {
    rows.splice(rows.indexOf(row), 1);
    page.changed();
  },
};

/** Begins those whose turn it is, the first chosen first. */
function turn() {
  if (signIn.asks) return; // the next one would be refused as well
  const busy = rows.filter((row) => row.busy).length;
  const queued = rows.filter((row) => row.state === 'queued');
  for (const row of queued.slice(0, Math.max(0, AT_ONCE - busy))) row.begin();
}

/** Once a frame at most: what happens comes far more often. */
function draw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const row of rows) row.draw();
    total();
  });
}

/** All of them together, above the list and in the tab's title. */
function total() {
  const open = rows.filter((row) => row.busy || ['queued', 'asked', 'checking'].includes(row.state));
  const done = rows.filter((row) => row.state === 'completed').length;
  const sum = (list, of) => list.reduce((all, row) => all + of(row), 0);
  const sent = sum(open, (row) => row.sent);
  const size = sum(open, (row) => row.size);
  const rate = sum(open, (row) => row.upload?.rate ?? 0);
  const words = [];
  if (done > 0) words.push(`${done} done`);
  if (open.length > 0) words.push(`${open.length} to go`, `${percent(sent, size)} %`);
  if (rate > 0) words.push(`${duration((size - sent) / rate)} left`);
  // A number and its unit stay on one line.
  const text = words.map((word) => word.replaceAll(' ', '\u00a0')).join(' · ');
  if (find('total').textContent !== text) find('total').textContent = text;
  document.title = open.length > 0 ? `${percent(sent, size)} % · Highwater` : 'Upload · Highwater';
}

/** @param {string[]} notes what there is to say of files that are not among these */
function add(files, notes = []) {
  const twice = files.filter((file) => rows.some((row) => row.has(file)));
  for (const file of files) {
    if (twice.includes(file)) continue;
    const known = rows.find((row) => row.awaits(file));
    if (known) known.take(file);
    else rows.push(new Row(page, { file }));
  }
  if (twice.length > 0) {
    const which = twice.length === 1 ? `${twice[0].name} is` : `${twice.length} of these files are`;
    notes.push(`${which} in the list already.`);
  }
  find('notice').textContent = notes.join(' ');
  page.changed();
}

find('choose').onclick = () => find('files').click();
find('files').onchange = ({ target }) => {
  const files = [...target.files];
  target.value = ''; // so that the same one can be chosen again
  add(files);
};
find('again').onchange = ({ target }) => {
  const [file] = target.files;
  target.value = '';
  if (!file || !wanted) return;
  wanted.take(file);
  page.changed();
};

let depth = 0;
const carries = (event) => [...(event.dataTransfer?.types ?? [])].includes('Files');
addEventListener('dragenter', (event) => {
  if (!carries(event)) return;
  depth += 1;
  document.body.classList.add('over');
});
addEventListener('dragleave', (event) => {
  if (carries(event)) depth = Math.max(0, depth - 1);
  if (depth === 0) document.body.classList.remove('over');
});
addEventListener('dragover', (event) => carries(event) && event.preventDefault());
addEventListener('drop', (event) => {
  if (!carries(event)) return;
  event.preventDefault();
  depth = 0;
  document.body.classList.remove('over');
  const folders = [...event.dataTransfer.items].filter((item) => item.webkitGetAsEntry?.()?.isDirectory).length;
  const files = [...event.dataTransfer.items]
    .filter((item) => item.kind === 'file' && !item.webkitGetAsEntry?.()?.isDirectory)
    .map((item) => item.getAsFile());
  add(files.filter(Boolean), folders > 0 ? ['Folders are not uploaded: choose the files in them.'] : []);
});

// A file that has not begun is kept nowhere: who leaves now would have to remember it.
addEventListener('beforeunload', (event) => {
  if (rows.some((row) => ['queued', 'asked'].includes(row.state))) event.preventDefault();
});

const connected = () => (find('offline').hidden = navigator.onLine);
addEventListener('online', connected);
addEventListener('offline', connected);
connected();

const limit = Number(document.documentElement.dataset.maxSize);
if (limit > 0) find('limit').textContent = `Up to ${atMost(limit)} a file. `;

for (const unfinished of Upload.unfinished(page.endpoint)) rows.push(new Row(page, { unfinished }));
// Speed and time left go on while nothing comes.
setInterval(draw, 500);
draw();
