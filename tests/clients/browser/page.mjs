// The page that the browser loads: Uppy with its tus plugin and a file input, and what the test asks of them.
import Uppy from '@uppy/core';
import Tus from '@uppy/tus';

window.start = (options) => {
  const uppy = new Uppy().use(Tus, options);
  window.uppy = uppy;
  window.sent = 0;
  uppy.on('upload-progress', (file, progress) => {
    window.sent = progress.bytesUploaded;
    document.querySelector('progress').value = progress.bytesUploaded / progress.bytesTotal;
    document.querySelector('output').value = `${file.name}: ${progress.bytesUploaded} of ${progress.bytesTotal} bytes`;
  });
  document.querySelector('input').onchange = (event) => {
    for (const file of event.target.files) uppy.addFile({ name: file.name, type: file.type, data: file });
  };
};

// Settles when all files are done: the URLs of those that were uploaded, and what went wrong with the others.
window.upload = async () => {
  const { successful, failed } = await window.uppy.upload();
  return { urls: successful.map((file) => file.uploadURL), errors: failed.map((file) => file.error) };
};
