// Whether a page can be read and used, wherever it is looked at.
import assert from 'node:assert/strict';

/** No part of the page is wider than the window, and no text is cut off. */
async function assertFits(visitor) {
  const { tab } = visitor;
  const [content, window] = await tab.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= window, `${content} px in a window of ${window}`);
  const small = await tab.evaluate(() =>
    [...document.querySelectorAll('.drop button, .actions button, form button')]
      .filter((button) => button.offsetParent && button.getBoundingClientRect().height < 36)
      .map((button) => button.textContent),
  );
  assert.deepEqual(small, [], 'buttons are large enough for a finger');
}

/** The least contrast of texts to what is behind them, of those that are seen. */
function leastContrast() {
  const channels = (text) => text.match(/[\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = channels(getComputedStyle(at).backgroundColor);
      if (colour[3] !== 0) return colour;
    }
    return [255, 255, 255];
  };
  let least = { ratio: 21 };
  for (const element of document.querySelectorAll('h1, h2, h3, p, label, button, strong, span')) {
    if (!element.offsetParent || !element.textContent.trim()) continue;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < least.ratio) least = { ratio, text: element.textContent.trim().slice(0, 60) };
  }
  return least;
}

export async function assertReadable(visitor) {
  await assertFits(visitor);
  const least = await visitor.tab.evaluate(leastContrast);
  assert.ok(least.ratio >= 4.5, `"${least.text}" has a contrast of ${least.ratio}`);
}
