// @ts-check
// The browser's own interface, which Firefox calls `browser` and Chromium `chrome`, and the texts of `_locales`.

/** @type {any} */
const here = globalThis

/** @type {any} */
export const browser = here.browser ?? here.chrome

/** @param {string} name @param {string[]} parts */
export function text(name, ...parts) {
  return /** @type {string} */ (browser.i18n.getMessage(name, parts))
}
