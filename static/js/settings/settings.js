// @ts-check
// Opens the settings, which are loaded when they are opened. The theme is set at the start.

import { fetched } from "../base/api.js"
import { recall } from "../base/preferences.js"

/** Fires "language", and "logout" when the reader wants to log out. */
export class Settings extends EventTarget {
  #parts
  /** @type {import("./settingsdialog.js").SettingsDialog | undefined} */
  #dialog
  /** Additional dialogs, if there are several people. @type {HTMLElement | undefined} */
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

  /** Open the settings; return the dialog. */
  async open() {
    const { SettingsDialog } = await fetched(import("./settingsdialog.js"), this.#parts.i18n)
    this.#dialog ??= new SettingsDialog(this.#parts, this)
    await this.#dialog.open()
    return this.#dialog
  }
}
