// @ts-check
// The way to the settings, which are fetched when they are opened. The theme holds from the start.

import { fetched } from "../base/api.js"
import { recall } from "../base/preferences.js"

/** Fires "language", and "logout" when the reader wants to. */
export class Settings extends EventTarget {
  #parts
  /** @type {import("./settingsdialog.js").SettingsDialog | undefined} */
  #dialog
  /** What there is beside, for those who are one of several people. @type {HTMLElement | undefined} */
  section

  /**
   * @param {object} parts
   * @param {import("../base/i18n.js").I18n} parts.i18n
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../session/session.js").Session} parts.session
   * @param {import("../intake/options.js").Options} parts.options
   * @param {() => unknown} parts.openSubscriptions
   */
  constructor(parts) {
    super()
    this.#parts = parts
    document.documentElement.dataset.theme = recall("theme", "")
  }

  /** Returns the open dialog. */
  async open() {
    const { SettingsDialog } = await fetched(import("./settingsdialog.js"), this.#parts.i18n)
    this.#dialog ??= new SettingsDialog(this.#parts, this)
    await this.#dialog.open()
    return this.#dialog
  }
}
