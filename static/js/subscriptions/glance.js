// @ts-check
// A subscription at a glance: its picture, whether it needs the reader, and whether it has new entries since
// they were last shown in this browser.

import { make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

const PICTURE = 48 // height and width in pixels
/**
 * The name under which this browser stores when each subscription was last looked at, by its id. The id "" is
 * for all that never were.
 */
const VISITS = "subscriptions.visits"
/** The most subscriptions that the server lists in one answer. */
const PAGE = 200

/** Make the picture of a source. It is beside the source's name, so screen readers need not read it. */
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
 * Return whether a subscription needs the reader: it fails, has a notice, or holds entries back until a
 * decision.
 * @param {Subscription} subscription
 */
export const needsReader = ({ stage, held, notice }) => stage === "failing" || Boolean(held || notice)

/**
 * Return all subscriptions, those that need the reader first.
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
 * Return when this browser last showed the entries of a subscription; on a first visit nothing is new.
 * @param {string} id of a subscription
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
 * Note that the entries of a subscription are shown now.
 * @param {string} id
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function noteVisit(id, i18n) {
  remember(VISITS, { ...visits(), [id]: new Date(i18n.now()).toISOString() })
}
