// @ts-check
// Limits of a person: their names, how much of each is used, and what to do when one is reached.

/** @typedef {{running: number, waiting: number, bytes_per_day: number, stored_bytes?: number, free_in?: number}} Use */

/**
 * The service's name of each limit, with its words, the field of its use, what to do when it is reached, and
 * whether it is in bytes.
 * @type {Record<string, {words: string, used?: keyof Use, over?: string, isBytes?: boolean}>}
 */
export const LIMITS = {
  max_running: { words: "limit.running", used: "running" },
  max_waiting: { words: "limit.waiting", used: "waiting", over: "limit.over_waiting" },
  max_bytes_per_day: { words: "limit.per_day", used: "bytes_per_day", over: "limit.over_day", isBytes: true },
  max_stored_bytes: { words: "limit.stored", used: "stored_bytes", over: "limit.over_stored", isBytes: true },
  retention_hours: { words: "limit.retention" },
}

/**
 * Return what to do after the service has refused something because of a limit; "" for a limit that the page
 * does not know.
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
