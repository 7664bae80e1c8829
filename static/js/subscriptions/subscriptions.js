// @ts-check
// Opens the subscriptions: from a link to a list and, once there are any, from the menu. The view and its
// styles are loaded when somebody opens it.

import { fetched } from "../base/api.js"
import { byId, fromTemplate, setText } from "../base/dom.js"
import { addSymbol, loadStyles, make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { needsReader } from "./glance.js"
import { Origins } from "./origins.js"
import { FOLLOWS } from "./remembered.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n, play: (task: Task) => unknown, leadTo: (task: Task) => unknown}} Parts  `leadTo`: to the row of a task */
/** @typedef {Parts & {box: import("../intake/box.js").Box, options: import("../intake/options.js").Options}} PartsOfBox */

/**
 * Subscribe to the link in the box.
 * @param {string} link
 * @param {PartsOfBox} parts
 */
export async function subscribe(link, parts) {
  const view = await viewOf(parts)
  await view.subscribe(link, parts)
}

/**
 * Show all subscriptions, with the import from other programs; or show one subscription.
 * @param {Parts} parts
 * @param {string} [id]
 */
export async function openSubscriptions(parts, id) {
  const view = await viewOf(parts)
  await view.open(id)
}

/**
 * From now on, let each row lead to its subscription, and fold further rows of a subscription under the
 * first.
 * @param {Parts & {list: import("../list/list.js").TaskList, shown: import("../list/shown.js").ShownList,
 * rows: import("../list/rows.js").Rows, pointing: import("../list/updates.js").Pointing}} parts
 */
export const showOrigins = (parts) =>
  new Origins({ ...parts, openSubscription: (id) => openSubscriptions(parts, id) })

/** The largest number of subscriptions that is shown in the menu. */
const COUNTED = 9

/**
 * Add an item for the subscriptions to the opened menu, with the number of those that need the reader. Only
 * here the page asks whether there are any, so that other visits cost nothing. The item is the last one: if
 * it comes late, nothing moves.
 * @param {Parts} parts
 */
export async function offer(parts) {
  if (recall(FOLLOWS, false)) addEntry(parts)
  if (document.body.dataset.page === "login") return
  const query = { sort: "trouble", limit: COUNTED + 1 }
  // Errors are ignored: another part of the page shows that the server does not answer.
  const found = await parts.api.get("api/subscriptions", query).catch(() => null)
  if (!found) return
  remember(FOLLOWS, found.subscriptions.length > 0)
  if (!found.subscriptions.length) return
  addEntry(parts)
  const n = found.subscriptions.filter(needsReader).length
  const { i18n } = parts
  const words = i18n.t("follow.need", { n })
  const text = n > COUNTED ? `${COUNTED}+` : String(n)
  const badge = make("span", { className: "badge", title: words, role: "img", "aria-label": words }, text)
  if (n) document.querySelector(`#menu-items .${FOLLOWS}`)?.append(badge)
}

/** @param {Parts} parts */
function addEntry(parts) {
  const { i18n } = parts
  const items = byId("menu-items", HTMLElement)
  // The menu may be closed by now, or be the menu of a row.
  const isOpen = items.matches(":popover-open") && items.querySelector("[data-name=settings]")
  if (!isOpen || items.querySelector(`.${FOLLOWS}`)) return
  addSymbol(FOLLOWS, "M5 5a14 14 0 0 1 14 14M5 11a8 8 0 0 1 8 8M6 18h.01")
  const { element, parts: { icon, words } } = fromTemplate("menu-item", i18n)
  element.className = FOLLOWS
  icon.setAttribute("href", `#i-${FOLLOWS}`)
  setText(words, i18n.t("follow.title"))
  element.addEventListener("click", async () => {
    items.hidePopover()
    byId("menu", HTMLElement).focus() // the dialog returns the focus to this button when it is closed
    await openSubscriptions(parts)
  })
  items.append(element)
}

/** @param {Parts} parts */
async function viewOf(parts) {
  const [{ SubscriptionsView }] = await fetched(
    Promise.all([import("./subscriptionsview.js"), loadStyles("static/css/subscriptions/subscriptions.css")]),
    parts.i18n,
  )
  return new SubscriptionsView(parts)
}
