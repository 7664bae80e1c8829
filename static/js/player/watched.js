// @ts-check
// Remembers in this browser how far each film was watched.

import { recall, remember } from "../base/preferences.js"

/** @typedef {{at: number, of: number}} Watched  seconds */

const REMEMBERED = "watched"
/** The most films that are remembered; the oldest are forgotten. */
const MOST = 500
/** A film counts as watched from this fraction of its length on: the rest is credits. */
const WATCHED_FROM_SHARE = 0.95

/** @returns {Record<string, [at: number, of: number]>} */
function stored() {
  /** @type {any} */
  const found = recall(REMEMBERED, {})
  return found && typeof found === "object" ? found : {}
}

/**
 * @param {string} id  of a task
 * @returns {Watched & {isSeen: boolean}}
 */
export function watchedOf(id) {
  const [at, of] = (stored()[id] ?? []).map(Number)
  const isKnown = at >= 0 && of > 0
  return isKnown ? { at, of, isSeen: at >= of * WATCHED_FROM_SHARE } : { at: 0, of: 0, isSeen: false }
}

/**
 * @param {string} id  of a task
 * @param {Watched} watched
 */
export function keepWatched(id, { at, of }) {
  if (!(of > 0) || of === Infinity || !(at > 0)) return
  const { [id]: _, ...others } = stored()
  const kept = Object.entries(others).slice(1 - MOST)
  remember(REMEMBERED, Object.fromEntries([...kept, [id, [tenths(at), tenths(of)]]]))
}

/** @param {number} seconds  rounded up, so that a film that was begun never has the position 0 */
const tenths = (seconds) => Math.ceil(seconds * 10) / 10
