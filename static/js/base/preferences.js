// @ts-check
// Preferences that this browser stores. If the browser refuses to store anything, each visit is like the
// first.

const PREFIX = "clipwire."

/**
 * @template T
 * @param {string} name
 * @param {T} otherwise
 * @returns {T}
 */
export function recall(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(PREFIX + name) ?? "null") ?? otherwise
  } catch {
    return otherwise // storage is forbidden, or its content is not ours
  }
}

/**
 * Store a value; return whether that worked. If storage is forbidden or full, the page still works, but the
 * next visit does not have the value.
 * @param {string} name
 * @param {unknown} value
 */
export function remember(name, value) {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value))
    return true
  } catch {
    return false
  }
}
