import { defineConfig } from 'vite';

export default defineConfig({
  // What `npm run build` makes can be served from any folder.
  base: './',
  // The server lets in this origin alone (--cors-allow-origin): another port would be another origin.
  server: { host: 'localhost', port: 5173, strictPort: true },
});
