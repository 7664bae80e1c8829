// @ts-check
// Limits of a person: what they are called, what of them is used, and what to do where one is reached.

/** @typedef {{running: number, waiting: number, bytes_per_day: number, stored_bytes?: number, free_in?: number}} Use */

/** How the service calls them -> the words for it, what says how much is used, what to do, and whether it is in bytes. @type {Record<string, {words: string, used?: keyof Use, over?: string, isBytes?: boolean}>} */
export const LIMITS = {
  max_running: { words: "limit.running", used: "running" },
  max_waiting: { words: "limit.waiting", used: "waiting", over: "limit.over_waiting" },
  max_bytes_per_day: { words: "limit.per_day", used: "bytes_per_day", over: "limit.over_day", isBytes: true },
  max_stored_bytes: { words: "limit.stored", used: "stored_bytes", over: "limit.over_stored", isBytes: true },
  retention_hours: { words: "limit.retention" },
}

/**
 * What to do where the service has refused something for a limit; "": the page does not know this one.
 * @param {{limit: string, most: number, used: number, retry_after?: number}} body
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function overLimit({ limit, most, used, retry_after = 0 }, i18n) {
  const { over, isBytes } = LIMITS[limit] ?? {}
  if (!over) return ""
  const amount = (/** @type {number} */ n) => (isBytes ? i18n.format.size(n) : n)
  return i18n.t(over, { n: used, most: amount(most), used: amount(used), time: timeIn(retry_after, i18n) })
}

/**
 * @param {number} seconds
 * @param {import("../base/i18n.js").I18n} i18n
 */
export const timeIn = (seconds, i18n) => i18n.format.moment(new Date(i18n.now() + seconds * 1000))
