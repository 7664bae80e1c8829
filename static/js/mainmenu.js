// @ts-check
// The menu of the header: what concerns the page as a whole.

import { showKeys } from "./dialogs.js"
import { byId } from "./dom.js"

export class MainMenu {
  /**
   * @param {object} parts
   * @param {import("./menu.js").Menu} parts.menu
   * @param {import("./session.js").Session} parts.session
   * @param {import("./settings.js").Settings} parts.settings
   * @param {import("./counts.js").Counts} parts.counts
   * @param {import("./together.js").Together} parts.together
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor({ menu, session, settings, counts, together, undo, i18n }) {
    const button = byId("menu", HTMLButtonElement)
    /** @type {Record<string, () => unknown>} */
    const deeds = {
      settings: () => settings.open(),
      keys: () => showKeys(i18n),
      retry: () => together.retryFailed(),
      pause: () => counts.pause(true),
      resume: () => counts.pause(false),
      logout: () => {
        undo.finish() // pending deletions need the session
        return session.logOut()
      },
    }
    settings.addEventListener("logout", deeds.logout)
    button.addEventListener("click", () => {
      const names = session.isWanted ? ["settings"] : [
        ...(counts.stages.failed ? ["retry"] : []),
        ...(counts.isKnown ? [counts.isPaused ? "resume" : "pause"] : []),
        "settings",
        "keys",
        ...(session.isLoggedIn ? ["logout"] : []),
      ]
      menu.open(
        button,
        names.map((name) => ({ name, text: i18n.t(`menu.${name}`) })),
        (name) => deeds[name](),
      )
    })
  }
}
