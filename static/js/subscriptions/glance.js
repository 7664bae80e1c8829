// @ts-check
// A subscription at a glance: its picture, whether it needs the reader, and whether it has something new since its
// entries were last shown in this browser.

import { make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

const PICTURE = 48 // pixels of its sides
/** When each was last looked at, by its id; "": all of them, for those that never were. */
const VISITS = "subscriptions.visits"
/** As many as the server lists at once. */
const PAGE = 200

/** What its source is known by: beside its name, so that nothing reads it. */
export function pictureOf() {
  const picture = make("img", {
    className: "follow-picture",
    alt: "",
    width: PICTURE,
    height: PICTURE,
    loading: "lazy",
    hidden: true,
  })
  picture.addEventListener("error", () => (picture.hidden = true))
  return picture
}

/**
 * @param {HTMLImageElement} image
 * @param {Subscription} subscription  whose picture the server has: no other host is asked
 */
export function showPicture(image, { picture }) {
  const link = picture ? `${picture}?w=${2 * PICTURE}` : ""
  if (link === (image.getAttribute("src") ?? "")) return
  image.hidden = !link
  if (link) image.src = link
  else image.removeAttribute("src")
}

/** @param {string} name  of a subscription: what stands in place of its picture */
export const letterOf = (name) => [...name.replace(/^https?:\/\/(www\.)?/, "")][0] ?? ""

/**
 * Whether nothing goes on, or something is not downloaded, until the reader decides.
 * @param {Subscription} subscription
 */
export const needsReader = ({ stage, held, notice }) => stage === "failing" || Boolean(held || notice)

/**
 * All of them, those that need the reader first.
 * @param {import("../base/api.js").Api} api
 * @returns {Promise<Subscription[]>}
 */
export async function allSubscriptions(api) {
  /** @type {Subscription[]} */
  const all = []
  /** @type {string | undefined} */
  let cursor
  do {
    const page = await api.get("api/subscriptions", { sort: "trouble", limit: PAGE, cursor })
    all.push(...page.subscriptions)
    cursor = page.next_cursor
  } while (cursor)
  return all
}

/** @returns {Record<string, string>} */
const visits = () => {
  /** @type {any} */
  const found = recall(VISITS, {})
  return found && typeof found === "object" ? found : {}
}

/**
 * Until when this browser was shown what has come; a first visit finds nothing new.
 * @param {string} id  of a subscription
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function visitOf(id, i18n) {
  const known = visits()
  if (!known[""]) remember(VISITS, known[""] = new Date(i18n.now()).toISOString())
  return Date.parse(known[id] ?? known[""])
}

/**
 * @param {Subscription} subscription
 * @param {import("../base/i18n.js").I18n} i18n
 */
export const hasNew = ({ subscription_id, last_fetched_at = "" }, i18n) =>
  Date.parse(last_fetched_at) > visitOf(subscription_id, i18n)

/**
 * What one of them has is shown now.
 * @param {string} id
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function noteVisit(id, i18n) {
  remember(VISITS, { ...visits(), [id]: new Date(i18n.now()).toISOString() })
}
