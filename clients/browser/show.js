// @ts-check
// The badge, the tooltip and the menu of the button.

import { browser, text } from "./browser.js"
import { isOpen } from "./link.js"

/** @typedef {import("./link.js").Link} Link */

const MOST_ITEMS = 5 // Chromium takes six items in the button's menu, and one of them is the server's page
const LONGEST = 60 // characters of a title

const BLUE = "#1a5fb4"
const GREEN = "#26753f"
const RED = "#b3261e"

/** @type {Promise<unknown>} */
let turn = Promise.resolve()
let shownMenu = ""

/**
 * @param {Link[]} sent newest first
 * @param {string} [trouble] why nothing can be sent or asked now
 * @param {string} [success] what has just gone well, of which nothing is in `sent`
 */
export async function show(sent, trouble, success) {
  const [badge, colour] = success ? ["✓", GREEN] : badgeOf(sent, trouble)
  const lines = sent.slice(0, MOST_ITEMS).map((link) => `${markOf(link)} ${nameOf(link)}${reasonOf(link)}`)
  await Promise.all([
    browser.action.setBadgeText({ text: badge }),
    browser.action.setBadgeBackgroundColor({ color: colour }),
    browser.action.setBadgeTextColor({ color: "#ffffff" }),
    browser.action.setTitle({
      title: [trouble, success, ...lines].filter(Boolean).join("\n") || text("send"),
    }),
    showMenu(sent),
  ])
}

/** @param {Link[]} sent @param {string} [trouble] @returns {[string, string]} text and colour */
function badgeOf(sent, trouble) {
  const open = sent.filter(isOpen)
  if (trouble) return ["!", RED]
  if (open.length) {
    const mean = open.reduce((sum, link) => sum + link.progress, 0) / open.length
    return [`${Math.floor(mean)}%`, BLUE]
  }
  const ended = sent.filter((link) => link.isNew)
  if (ended.some((link) => link.status === "error")) return ["!", RED]
  return ended.length ? ["✓", GREEN] : ["", BLUE]
}

/** @param {Link} link */
function markOf(link) {
  if (link.status === "completed") return "✓"
  return link.status === "error" ? "✗" : `${link.progress}%`
}

/** @param {Link} link */
function nameOf(link) {
  const name = link.title || link.url
  return name.length > LONGEST ? `${name.slice(0, LONGEST - 1)}…` : name
}

/** @param {Link} link */
function reasonOf(link) {
  return link.status === "error" && link.error ? ` – ${link.error}` : ""
}

/**
 * Fill the menu with the newest tasks and the fixed items.
 * @param {Link[]} sent
 */
export function showMenu(sent) {
  const items = [
    { id: "send", title: text("sendPage"), contexts: ["page", "video", "audio"] },
    { id: "send-link", title: text("sendLink"), contexts: ["link"] },
    ...sent.slice(0, MOST_ITEMS).map((link) => ({
      id: `task ${link.key}`,
      // A single & would underline the letter after it.
      title: `${isOpen(link) ? "…" : markOf(link)} ${nameOf(link)}`.replaceAll("&", "&&"),
      contexts: ["action"],
    })),
    { id: "page", title: text("openPage"), contexts: ["action"] },
  ]
  const wanted = JSON.stringify(items)
  const done = turn.then(async () => {
    if (wanted === shownMenu) return
    await browser.contextMenus.removeAll()
    // Only pages of the web have a link that a server could fetch.
    for (const item of items) {
      const documentUrlPatterns = item.contexts.includes("page") ? ["http://*/*", "https://*/*"] : undefined
      browser.contextMenus.create({ ...item, ...(documentUrlPatterns && { documentUrlPatterns }) }, () => {
        // A worker that was stopped after the removal creates the items twice; this error is ignored.
        void browser.runtime.lastError
      })
    }
    shownMenu = wanted
  })
  turn = done.catch(() => undefined)
  return done
}
