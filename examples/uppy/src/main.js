import Uppy from '@uppy/core';
import Dashboard from '@uppy/dashboard';
import GoldenRetriever from '@uppy/golden-retriever';
import Tus from '@uppy/tus';
import '@uppy/core/css/style.min.css';
import '@uppy/dashboard/css/style.min.css';
import { FileBars } from './file-bars.js';
import { ServerProgress } from './server-progress.js';
import './style.css';

const server = import.meta.env.VITE_HIGHWATER ?? 'http://127.0.0.1:8080';

// A field that is not there would be sent as the word 'undefined'.
const uppy = new Uppy({ meta: { caption: '' } })
  .use(Dashboard, {
    target: '#dashboard',
    inline: true,
    width: '100%',
    height: 420,
    theme: 'auto',
    // What the user may write about a file; it reaches the server as Upload-Metadata.
    metaFields: [
      { id: 'name', name: 'Name', placeholder: 'the name that a download gets' },
      { id: 'caption', name: 'Caption', placeholder: 'what it shows' },
    ],
  })
  .use(Tus, {
    endpoint: `${server}/files/`,
    allowedMetaFields: ['name', 'type', 'caption'],
    // Each of these begins a request of its own, at the same time: worth it where one connection does not fill the line.
    parallelUploads: 1,
    onBeforeRequest: (request, file) => {
      // Where bytes go, or were looked for, is the upload to follow.
      if (!['HEAD', 'PATCH'].includes(request.getMethod())) return;
      follow(file.id, request.getURL(), request.getHeader('Upload-Concat') === 'partial');
    },
  })
  // Keeps the files in the browser, so that they need not be chosen again after a reload. Larger ones must be, and go on from
  // where they were all the same.
  .use(GoldenRetriever, { indexedDB: { maxFileSize: 200 * 2 ** 20, maxTotalSize: 2 ** 30 } });

const parallel = document.querySelector('#parallel');
parallel.onchange = () => uppy.getPlugin('Tus').setOptions({ parallelUploads: Number(parallel.value) });

// The server's own word beside Uppy's: what has left the browser may still be in a buffer on the way.

const bars = new Map(); // file id → FileBars
const progress = new ServerProgress(server, {
  onMessage: (message) => {
    for (const file of bars.values()) if (file.uploads.has(message.upload_id)) file.told(message);
  },
  onConnection: (kind) => {
    const words = { websocket: 'Live, by WebSocket.', events: 'Live, by Server-Sent Events.', lost: 'Connecting again…' };
    document.querySelector('#connection').textContent = words[kind];
  },
});

// The rows are those of Uppy's files, however they came and went: Golden Retriever adds them without a word, and the
// Dashboard's "Done" removes them so.
uppy.on('state-update', (_, { files }) => {
  for (const file of Object.values(files)) if (!bars.has(file.id)) add(file);
  for (const id of bars.keys()) if (!files[id]) remove(id);
});

function add(file) {
  bars.set(file.id, new FileBars(file.name, file.size));
  document.querySelector('#files').append(bars.get(file.id).element);
  // After a reload, what was safe before is so now, before a byte is sent.
  if (file.tus?.uploadUrl) follow(file.id, file.tus.uploadUrl, false);
}

function remove(id) {
  const file = bars.get(id);
  for (const upload of file.uploads.keys()) progress.unfollow(upload);
  file.element.remove();
  bars.delete(id);
}

function follow(fileId, url, isPart) {
  const file = bars.get(fileId);
  if (!file) return;
  const id = new URL(url).pathname.split('/').pop();
  for (const old of file.belongs(id, isPart)) progress.unfollow(old);
  progress.follow(id);
}

uppy.on('upload-progress', (file, { bytesUploaded }) => bars.get(file.id)?.sent(bytesUploaded));
// Parts became one upload; and a file of no bytes is never sent.
uppy.on('upload-success', (file, { uploadURL }) => follow(file.id, uploadURL, false));
