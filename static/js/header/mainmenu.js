// @ts-check
// The menu of the header, with actions for the page as a whole. It is loaded when it is first opened.

import { byId } from "../base/dom.js"
import { addSymbol } from "../base/elements.js"
import { showKeys } from "../list/keys.js"

/**
 * Items that other parts add to the menu, and names of items that are not for this reader.
 * @typedef {{items: () => (import("./menu.js").Item & {then: () => unknown})[], without: string[]}} More
 */

/** The icons that only this menu has. */
const SYMBOLS = {
  keys: "M3 7h18v11H3zM7 11h.01M11 11h.01M15 11h.01M8 15h8",
  logout: "M10 4H5v16h5M14 8l4 4-4 4M18 12H9",
  settings: "M4 7h10M18 7h2M4 17h2M10 17h10M14 5v4M10 15v4",
}

/**
 * @param {object} parts
 * @param {import("./menu.js").Menu} parts.menu
 * @param {import("../session/session.js").Session} parts.session
 * @param {import("../settings/settings.js").Settings} parts.settings
 * @param {import("../tasks/counts.js").Counts} parts.counts
 * @param {() => unknown} parts.retryFailed
 * @param {() => unknown} parts.logOut
 * @param {import("../base/i18n.js").I18n} parts.i18n
 * @param {More} more
 */
export function openMainMenu({ menu, session, settings, counts, retryFailed, logOut, i18n }, more) {
  for (const [name, path] of Object.entries(SYMBOLS)) addSymbol(name, path)
  /** @type {Record<string, () => unknown>} */
  const choices = {
    settings: () => settings.open(),
    keys: () => showKeys(i18n),
    retry: retryFailed,
    pause: () => counts.pause(true),
    resume: () => counts.pause(false),
    logout: logOut,
  }
  const names = session.isWanted ? ["settings"] : [
    ...(counts.stages.failed ? ["retry"] : []),
    counts.isPaused ? "resume" : "pause",
    "settings",
    // Devices without a hovering pointer rarely have a keyboard, so they get no list of keys.
    ...(matchMedia("(hover: none)").matches ? [] : ["keys"]),
    ...(session.isLoggedIn ? ["logout"] : []),
  ]
  const shown = names.filter((name) => !more.without.includes(name))
  const items = more.items()
  menu.open(
    byId("menu", HTMLElement),
    [
      ...items,
      ...shown.map((name) => ({ name, text: i18n.t(`menu.${name}`, { n: counts.stages.failed }) })),
    ],
    (name) => (choices[name] ?? items.find((item) => item.name === name)?.then)(),
  )
}
