// @ts-check
// The way to the subscriptions: from a link to a list, and, once there are any, from the menu. Their view and its styles
// are fetched when somebody goes there.

import { fetched } from "../base/api.js"
import { byId, fromTemplate, setText } from "../base/dom.js"
import { addSymbol, loadStyles } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { FOLLOWS } from "./remembered.js"

/** @typedef {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n}} Parts */
/** @typedef {Parts & {box: import("../intake/box.js").Box, options: import("../intake/options.js").Options}} PartsOfBox */

/**
 * Subscribe to a link, which is in the box.
 * @param {string} link
 * @param {PartsOfBox} parts
 */
export async function subscribe(link, parts) {
  const view = await viewOf(parts)
  await view.subscribe(link, parts)
}

/**
 * Show all of them, and where those of another program come in.
 * @param {Parts} parts
 */
export async function openSubscriptions(parts) {
  const view = await viewOf(parts)
  await view.open()
}

/**
 * The menu has been opened: offer those that there are. Whether there are any is asked here and not at the beginning, so
 * that nobody else pays for it. Their entry is the last one of the menu: when it comes late, nothing moves.
 * @param {Parts} parts
 */
export async function offer(parts) {
  if (recall(FOLLOWS, false)) addEntry(parts)
  if (document.body.dataset.page === "login") return
  const found = await parts.api.get("api/subscriptions", { limit: 1 }).catch(() => null) // the page says if nothing answers
  if (!found) return
  remember(FOLLOWS, found.subscriptions.length > 0)
  if (found.subscriptions.length) addEntry(parts)
}

/** @param {Parts} parts */
function addEntry(parts) {
  const { i18n } = parts
  const items = byId("menu-items", HTMLElement)
  // It may be closed by now, or be that of a row.
  const isOpen = items.matches(":popover-open") && items.querySelector("[data-name=keys]")
  if (!isOpen || items.querySelector(`.${FOLLOWS}`)) return
  addSymbol(FOLLOWS, "M5 5a14 14 0 0 1 14 14M5 11a8 8 0 0 1 8 8M6 18h.01")
  const { element, parts: { icon, words } } = fromTemplate("menu-item", i18n)
  element.className = FOLLOWS
  icon.setAttribute("href", `#i-${FOLLOWS}`)
  setText(words, i18n.t("follow.title"))
  element.addEventListener("click", async () => {
    items.hidePopover()
    byId("menu", HTMLElement).focus() // where the focus is again once the dialog is closed
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
