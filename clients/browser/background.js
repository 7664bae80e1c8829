// @ts-check
// What wakes the extension: a click on its button, an item of a menu, an alarm, new settings. The browser stops this
// worker whenever it is idle and starts it for the next event, so nothing here is remembered.

import { browser, text } from "./browser.js"
import { isOpen } from "./link.js"
import { ask, logIn, readSettings, Refused } from "./server.js"
import { follow, forget, markSeen, readSent, send, sendUnremembered } from "./sent.js"
import { show, showMenu } from "./show.js"

/** @typedef {import("./link.js").Link} Link */
/** @typedef {{ url?: string, title?: string, incognito?: boolean }} Tab */

browser.runtime.onInstalled.addListener(async (/** @type {{ reason: string }} */ { reason }) => {
  await showMenu(await readSent())
  if (reason === "install" && !(await readSettings()).server) await browser.runtime.openOptionsPage()
})
browser.runtime.onStartup.addListener(() => follow())
browser.alarms.onAlarm.addListener(() => follow())
browser.storage.onChanged.addListener((/** @type {Record<string, unknown>} */ changes) => {
  if ("settings" in changes) void follow()
})

browser.action.onClicked.addListener(async (/** @type {Tab} */ tab) => {
  const known = (await readSent()).find((link) => link.url === tab.url)
  if (known && known.status !== "error") await open(known)
  else await sendFrom(tab, tab.url, tab.title)
})

browser.contextMenus.onClicked.addListener(async (/** @type {any} */ item, /** @type {any} */ tab) => {
  if (item.menuItemId === "send-link") await sendFrom(tab, item.linkUrl, item.linkText)
  else if (item.menuItemId === "send") await sendFrom(tab, tab?.url ?? item.pageUrl, tab?.title)
  else if (item.menuItemId === "page") await openPage()
  else await openKey(String(item.menuItemId).slice("task ".length))
})

// The user may grant and withdraw the permission for notifications while this worker runs.
function listenToNotifications() {
  browser.notifications?.onClicked.addListener(openKey)
}
listenToNotifications()
browser.permissions.onAdded.addListener(listenToNotifications)

/** @param {Tab} [tab] @param {string} [url] @param {string} [title] */
async function sendFrom(tab, url, title) {
  if (!/^https?:\/\//.test(url ?? "")) return await show(await readSent(), text("noLink"))
  // The user chooses the server there; the link is sent afterwards.
  if (!(await isSetUp())) await browser.runtime.openOptionsPage()
  const how = tab?.incognito ? sendUnremembered : send
  await how(/** @type {string} */ (url), title ?? "")
}

async function isSetUp() {
  const { server } = await readSettings()
  return Boolean(server)
}

/** @param {string} key */
async function openKey(key) {
  const known = (await readSent()).find((link) => link.key === key)
  if (known) await open(known)
}

/**
 * Open the finished file, or the server's page if the task has none.
 * @param {Link} link
 */
async function open(link) {
  const settings = await readSettings()
  try {
    if (link.id && !(await ask(settings, `/api/status/${link.id}`))) {
      await forget(link.key)
      return await show(await readSent(), text("gone"))
    }
    if (!link.file || isOpen(link)) {
      await openPage(link.url)
    } else {
      await logIn(settings)
      await browser.tabs.create({ url: new URL(link.file, `${settings.server}/`).href })
    }
    if (!isOpen(link)) await markSeen(link.key)
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    await show(await readSent(), error.message)
  }
}

/** @param {string} [search] */
async function openPage(search) {
  const settings = await readSettings()
  if (!settings.server) return await browser.runtime.openOptionsPage()
  await logIn(settings).catch(() => undefined) // if the log-in fails, the page asks for the token itself
  await browser.tabs.create({ url: `${settings.server}/${search ? `?q=${encodeURIComponent(search)}` : ""}` })
}
