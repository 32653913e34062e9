// Chromium, as every test here starts it.
import { chromium } from 'playwright-core';

const executablePath = '/usr/bin/chromium';
// Root has no sandbox; and what Chromium would look up at its maker's is not for a test.
const flags = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'];
const quiet = ['--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** A browser that remembers nothing, started with `more` flags. */
export function launch(more = []) {
  return chromium.launch({ executablePath, args: [...flags, ...quiet, ...more] });
}

/** One with a profile, which it finds again the next time. */
export function launchAt(profile, more, options) {
  return chromium.launchPersistentContext(profile, { executablePath, args: [...flags, ...quiet, ...more], ...options });
}
