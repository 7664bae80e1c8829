// @ts-check
// Requests about subscriptions. The socket does not report them, so a view polls what it shows while its tab
// is visible.

import { Problem } from "../base/api.js"

/** @typedef {import("../base/api.js").Api} Api */
/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

/** How long the server may hold a request. */
const HELD_S = 25
/** ms after a failed request, and between two requests that the server did not hold. */
const PAUSE_MS = 5_000

/**
 * Follow one subscription by requests that the server holds, each with the ETag of the answer before.
 * @param {Api} api
 * @param {string} id
 * @param {(subscription: Subscription | null) => void} changed null: it is gone
 * @returns {() => void} ends it
 */
export function watchOne(api, id, changed) {
  let tag = ""
  return repeat(async (signal) => {
    const query = tag ? { wait: HELD_S } : {}
    const headers = tag ? { "If-None-Match": tag } : undefined
    const began = performance.now()
    const answer = await fetch(api.url(`api/subscriptions/${id}`, query), { headers, signal })
    if (answer.status === 401) api.dispatchEvent(new Event("unauthorized"))
    if (answer.status === 404) changed(null)
    if (answer.status === 304) return performance.now() - began < 1_000 ? PAUSE_MS : 0
    if (!answer.ok) return PAUSE_MS
    tag = answer.headers.get("ETag") ?? ""
    changed(await answer.json())
    return tag ? 0 : PAUSE_MS
  })
}

/**
 * Call `ask` again and again.
 * @param {(signal: AbortSignal) => Promise<number>} ask returns after how many milliseconds to ask again
 * @returns {() => void} ends it
 */
export function repeat(ask) {
  const end = new AbortController()
  const { signal } = end
  const run = async () => {
    while (!signal.aborted) {
      await untilSeen(signal)
      if (signal.aborted) return
      await pause(await ask(signal).catch(() => PAUSE_MS), signal)
    }
  }
  run()
  return () => end.abort()
}

/** @param {AbortSignal} signal */
function untilSeen(signal) {
  return new Promise((resolve) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return
      document.removeEventListener("visibilitychange", look)
      resolve(null)
    }
    document.addEventListener("visibilitychange", look)
    signal.addEventListener("abort", look, { once: true })
    look()
  })
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 */
function pause(ms, signal) {
  if (!ms) return
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener("abort", () => resolve(clearTimeout(timer)), { once: true })
  })
}

/**
 * @param {Api} api
 * @param {string} id
 * @returns {Promise<Subscription>}
 */
export const check = (api, id) => api.send("POST", `api/subscriptions/${id}/check`)

/**
 * @param {Api} api
 * @param {string} id
 * @param {boolean} enabled
 * @returns {Promise<Subscription>}
 */
export const enable = (api, id, enabled) => api.send("PATCH", `api/subscriptions/${id}`, { enabled })

/**
 * Send a file that another program has made.
 * @param {Api} api
 * @param {string} path
 * @param {string} type
 * @param {File} file
 * @param {string} unanswered what to say if no answer comes
 */
export async function upload(api, path, type, file, unanswered) {
  const request = { method: "POST", headers: { "Content-Type": type }, body: await file.text() }
  const answer = await fetch(api.url(path), request).catch(() => null)
  if (!answer) throw new Problem(0, { detail: unanswered })
  const body = await answer.json().catch(() => ({}))
  if (!answer.ok) throw new Problem(answer.status, body)
  return body
}

// Actions on many subscriptions, in requests of the size that the server takes.

const AT_ONCE = 500

/**
 * Act on subscriptions.
 * @param {Api} api
 * @param {{action: string, profile?: string | null}} what
 * @param {string[]} ids
 * @returns {Promise<Map<string, Problem>>}  which of them were refused, and why
 */
export async function actOnMany(api, what, ids) {
  /** @type {Map<string, Problem>} */
  const refused = new Map()
  for (let from = 0; from < ids.length; from += AT_ONCE) {
    const some = ids.slice(from, from + AT_ONCE)
    const answer = await api.send("POST", "api/subscriptions/actions", { ...what, ids: some })
    for (const [at, { status, problem }] of answer.results.entries()) {
      if (problem) refused.set(some[at], new Problem(status, problem))
    }
  }
  return refused
}

// Actions on the items of a subscription.

/** @typedef {import("./subscriptionwords.js").Item} Item */
/** @typedef {{items: Item[], problem: Problem | null}} Outcome  the items as they are now, and why another one was refused */

/**
 * @param {Api} api
 * @param {string} id
 * @param {string} action
 * @param {string[]} keys
 */
export async function actOnKeys(api, id, action, keys) {
  /** @type {Outcome} */
  const outcome = { items: [], problem: null }
  for (let from = 0; from < keys.length; from += AT_ONCE) {
    const body = { action, keys: keys.slice(from, from + AT_ONCE) }
    take(outcome, await api.send("POST", `api/subscriptions/${id}/items/actions`, body))
  }
  return outcome
}

/**
 * Act on all items in a state, whether they are shown or not.
 * @param {Api} api
 * @param {string} id
 * @param {string} action after which an item is in another state
 * @param {string} state
 * @param {number} n how many there are
 */
export async function actOnAll(api, id, action, state, n) {
  /** @type {Outcome} */
  const outcome = { items: [], problem: null }
  for (let left = n; left > 0; left -= AT_ONCE) {
    const answer = await api.send("POST", `api/subscriptions/${id}/items/actions`, { action, state })
    take(outcome, answer)
    if (!answer.more || outcome.problem) break
  }
  return outcome
}

/**
 * @param {Outcome} outcome
 * @param {{results: {status: number, item?: Item, problem?: object}[]}} answer
 */
function take(outcome, { results }) {
  for (const { status, item, problem } of results) {
    if (item) outcome.items.push(item)
    else outcome.problem ??= new Problem(status, problem ?? {})
  }
}
