// @ts-check
// The words for a subscription and its items: their states, what comes next, and why something waits.

import { LAYOUTS } from "../base/library.js"
import { failureOf } from "../row/facts.js"
import { chosenOf, sentenceOf } from "../intake/optionwords.js"

/** @typedef {import("../base/i18n.js").I18n} I18n */
/** @typedef {"known" | "skipped" | "waiting" | "queued" | "fetched" | "failed" | "expired"} State */
/** @typedef {Partial<Record<State, number>>} Counts */
/** @typedef {{title?: string, not_title?: string, min_duration?: number, max_duration?: number, since?: string, until?: string, kinds?: string[], members?: boolean, min_age?: string}} Filters */
/** @typedef {{layout?: string, folder?: string, name?: string}} Library */
/** @typedef {{subscription_id: string, revision: number, url: string, name: string, title?: string, description?: string, author?: string, picture?: string, enabled: boolean, stage: string, checked_at?: string, waiting?: string, next_check_at?: string, items: Counts, held?: number, last_fetched_at?: string, error_code?: string, error?: string, hint?: string, notice?: string, moved_to?: string, feeds?: {url: string, title?: string}[], interval: string, request: Record<string, any>, filters: Filters, keep: {days?: number, last?: number}, feed?: {name?: string, url?: string}, library?: Library, profile?: string, owner?: string}} Subscription */
/** @typedef {{key: string, url: string, title?: string, duration?: number, published_at?: string, state: State, reason?: string, not_before?: string, task_id?: string, thumbnail?: string, library?: import("../tasks/task.js").Place, paths?: string[], pinned: boolean}} Item */

/** @type {Record<string, string>} */
const STAGES = {
  paused: "follow.paused",
  checking: "follow.checking",
  seeding: "follow.seeding",
}
/** The counts of items that are shown, the most interesting first. @type {[State | "held", string][]} */
const COUNTED = [
  ["held", "follow.n_held"],
  ["queued", "follow.n_queued"],
  ["waiting", "follow.n_waiting"],
  ["failed", "follow.n_failed"],
  ["fetched", "follow.n_fetched"],
]
/** The states by which the reader can filter items, with their names. @type {Record<State, string>} */
export const STATES = {
  queued: "follow.queued",
  waiting: "follow.waiting",
  fetched: "follow.fetched",
  failed: "follow.failed",
  known: "follow.known",
  skipped: "follow.skipped",
  expired: "follow.expired",
}
/** @type {Record<string, string>} */
const REASONS = {
  held: "follow.why_held",
  backlog: "follow.why_backlog",
  retry: "follow.why_retry",
  unclear: "follow.why_unclear",
  not_live_yet: "follow.why_not_live_yet",
  members_only: "follow.why_members",
  too_young: "follow.why_too_young",
  removed: "follow.why_removed",
  by_client: "follow.why_by_client",
  retention: "follow.why_retention",
  in_memory: "follow.why_in_memory",
  no_media: "follow.why_no_media",
  unavailable: "failure.gone",
  private: "follow.why_private",
  login_required: "follow.why_login",
  bot_check: "failure.busy",
  title: "follow.why_title",
  not_title: "follow.why_title",
  min_duration: "follow.why_length",
  max_duration: "follow.why_length",
  since: "follow.why_day",
  until: "follow.why_day",
  kinds: "follow.why_kind",
  members: "follow.why_members",
}
/** The notices of a subscription, with their words. @type {Record<string, string>} */
export const NOTICES = {
  all_new: "follow.all_new",
  already_subscribed: "follow.already_subscribed",
}
/** The settings of a profile, with the words of the form for each. @type {Record<string, string>} */
const SETTINGS = {
  title: "follow.title_has",
  not_title: "follow.title_has_not",
  min_duration: "follow.min_duration",
  max_duration: "follow.max_duration",
  since: "follow.since",
  until: "follow.until",
  min_age: "follow.min_age",
  kinds: "follow.kinds",
  days: "follow.keep_days",
  last: "follow.keep_last",
}
/** @type {Record<string, string>} */
export const KINDS = { video: "follow.kind_video", short: "follow.kind_short", stream: "follow.kind_stream" }
/**
 * For each action, the items to which it applies. A fetched item can be fetched again if its files are gone.
 * @type {Record<string, (item: Item) => boolean>}
 */
export const ACTIONS_OF_ITEMS = {
  fetch: ({ state }) => state !== "queued",
  skip: ({ state }) => !["skipped", "fetched", "expired"].includes(state),
  pin: ({ pinned }) => !pinned,
  unpin: ({ pinned }) => pinned,
  place: ({ state, task_id, paths = [] }) => state === "fetched" && Boolean(task_id) && !paths.length,
  forget: ({ state }) => state !== "queued",
  delete: ({ state }) => state === "fetched",
}
const UNITS = /** @type {const} */ ({ m: "minute", h: "hour", d: "day", s: "second" })
const MINUTE_MS = 60_000

/**
 * Write a span of time from now, such as "in 25 minutes" or "3 hours ago".
 * @param {number} ms from now on
 * @param {string} language
 */
export function fromNow(ms, language) {
  const words = new Intl.RelativeTimeFormat(language, { numeric: "auto" })
  const minutes = ms / MINUTE_MS
  if (Math.abs(minutes) < 1) return words.format(Math.round(ms / 1000), "second")
  if (Math.abs(minutes) < 90) return words.format(Math.round(minutes), "minute")
  if (Math.abs(minutes) < 36 * 60) return words.format(Math.round(minutes / 60), "hour")
  return words.format(Math.round(minutes / 60 / 24), "day")
}

/**
 * Write a duration of the settings in words: "30 minutes" for "30m".
 * @param {string} duration
 * @param {string} language
 */
export function durationWords(duration, language) {
  const unit = UNITS[/** @type {keyof UNITS} */ (duration.slice(-1))] ?? "second"
  const format = { style: "unit", unit, unitDisplay: "long" }
  return new Intl.NumberFormat(language, /** @type {Intl.NumberFormatOptions} */ (format)).format(
    parseInt(duration),
  )
}

/**
 * Return the time until which no request goes to the host of a subscription, because it has refused one; 0 if
 * there is none.
 * @param {Subscription} subscription
 */
export const heldUntil = ({ waiting, next_check_at = "" }) =>
  waiting === "host_held" ? Date.parse(next_check_at) : 0

/**
 * Return what a subscription does now, or when its next check is.
 * @param {Subscription} subscription
 * @param {I18n} i18n
 * @param {number} held as of `heldUntil`
 * @param {number} [now]
 */
export function statusOf({ stage, next_check_at = "" }, i18n, held, now = i18n.now()) {
  if (held > now && stage !== "checking" && stage !== "paused") {
    return i18n.t("follow.host_held", { time: i18n.format.moment(new Date(held)) })
  }
  if (stage in STAGES) return i18n.t(STAGES[stage])
  const wait = Date.parse(next_check_at) - now
  return wait > 0 ? i18n.t("follow.next", { time: fromNow(wait, i18n.language) }) : i18n.t("follow.soon")
}

/**
 * Return the counts of items in words, such as "2 in the queue" and "5 held"; without these, the number of
 * known older items.
 * @param {Pick<Subscription, "items" | "held">} subscription
 * @param {I18n} i18n
 */
export function countsOf({ items, held = 0 }, i18n) {
  const counts = { ...items, waiting: (items.waiting ?? 0) - held, held }
  const words = COUNTED.flatMap(([state, key]) => counts[state] ? [i18n.t(key, { n: counts[state] })] : [])
  return words.length || !counts.known ? words : [i18n.t("follow.n_known", { n: counts.known })]
}

/**
 * Return the state of an item, with the reason.
 * @param {Item} item
 * @param {I18n} i18n
 */
export function stateWords({ state, reason = "", not_before }, i18n) {
  const name = i18n.t(STATES[state])
  const why = state === "fetched" && reason === "in_memory"
    ? "" // the state says as much
    : reason in REASONS
    ? i18n.t(REASONS[reason])
    : reason && failureOf(/** @type {any} */ ({ error_code: reason, error: reason, video_info: {} }), i18n)
  const time = state === "waiting" && not_before
    ? i18n.t("card.not_before", { time: i18n.format.moment(new Date(not_before)) })
    : ""
  return [name, why, time].filter(Boolean).join(" · ")
}

/**
 * Describe the settings of a profile in one line.
 * @param {Record<string, any>} profile
 * @param {I18n} i18n
 */
export function profileWords({ interval, request, library, filters = {}, keep = {} }, i18n) {
  const { t, language } = { t: i18n.t.bind(i18n), language: i18n.language }
  const time = interval === "auto" ? t("follow.auto") : interval && durationWords(interval, language)
  const set = Object.entries({ ...filters, ...keep }).filter(([name, value]) => value && SETTINGS[name])
  return [
    time && `${t("follow.interval")}: ${time}`,
    request && sentenceOf(/** @type {any} */ (chosenOf(request)), i18n),
    ...set.map(([name, value]) => `${t(SETTINGS[name])}: ${settingWords(name, value, i18n)}`),
    filters.members && t("follow.members"),
    library && `${t("details.library")}: ${placeWords(library, i18n)}`,
  ].filter(Boolean).join(" · ")
}

/**
 * @param {string} name
 * @param {any} value
 * @param {I18n} i18n
 */
function settingWords(name, value, i18n) {
  if (name === "kinds") {
    return value.map((/** @type {string} */ kind) => i18n.t(KINDS[kind] ?? kind)).join(", ")
  }
  if (name === "min_age") return durationWords(value, i18n.language)
  return name.endsWith("_duration") ? inMinutes(value) : value
}

/**
 * Return the name of the layout in the library, as the service interprets the setting.
 * @param {Library} library
 * @param {I18n} i18n
 */
const placeWords = ({ layout, name }, i18n) => layout || !name ? i18n.t(LAYOUTS[layout ?? "shows"]) : name

/** @param {number} seconds */
export const inMinutes = (seconds) => Math.round(seconds / 0.6) / 100

/**
 * Return the patch that turns `before` into `after` (RFC 7396): null removes a field.
 * @param {Record<string, any>} before
 * @param {Record<string, any>} after
 */
export function mergePatch(before, after) {
  /** @type {Record<string, any>} */
  const patch = {}
  for (const name of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const [old, now] = [before[name], after[name]]
    if (same(old, now)) continue
    patch[name] = isObject(old) && isObject(now) ? mergePatch(old, now) : now ?? null
  }
  return patch
}

/** @param {unknown} value */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value)

/**
 * @param {unknown} one
 * @param {unknown} other
 */
const same = (one, other) => JSON.stringify(one) === JSON.stringify(other)
