// @ts-check
// What the reader can set for this browser.

import { fetched, Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { byId } from "../base/dom.js"
import { LANGUAGES } from "../base/i18n.js"
import { recall, remember } from "../base/preferences.js"

const THEMES = ["auto", "light", "dark"]

/** Fires "language", and "logout" when the reader wants to. */
export class Settings extends EventTarget {
  #dialog = byId("settings", HTMLDialogElement)
  #languages = byId("language", HTMLSelectElement)
  #theme = byId("theme", HTMLSelectElement)
  #logout = /** @type {HTMLElement} */ (this.#dialog.querySelector("[data-part=logout]"))
  #parts
  /** @type {import("./about.js").About | undefined} */
  #about
  /** @type {import("../notices/notify.js").NotifyChoice | undefined} */
  #notify

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
    const { i18n } = parts
    this.#parts = parts
    this.#languages.replaceChildren(
      ...Object.entries(LANGUAGES).map(([value, name]) => new Option(name, value)),
    )
    this.#languages.value = i18n.language
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#languages.addEventListener("change", async () => {
      try {
        await i18n.choose(this.#languages.value)
      } catch {
        throw new Problem(0, { detail: i18n.t("problem.no_answer") })
      } finally {
        this.#languages.value = i18n.language
      }
      this.dispatchEvent(new Event("language"))
      this.#notify?.show()
      await this.#about?.show()
    })
    this.#theme.addEventListener("change", () => this.#choose(this.#theme.value))
    this.#logout.addEventListener("click", () => this.dispatchEvent(new Event("logout")))
    this.#show(recall("theme", "auto"))
  }

  async open() {
    const { session, i18n } = this.#parts
    const { NotifyChoice } = await fetched(import("../notices/notify.js"), i18n)
    this.#notify ??= new NotifyChoice(i18n)
    this.#notify.show()
    this.#dialog.toggleAttribute("data-alone", session.isWanted) // the rest needs a log-in
    this.#logout.hidden = !session.isLoggedIn
    openDialog(this.#dialog)
    if (session.isWanted) return
    const { About } = await fetched(import("./about.js"), i18n)
    this.#about ??= new About(this.#parts)
    await this.#about.show()
  }

  /** Open at the part on how links get here from other pages and from phones. */
  async openElsewhere() {
    await this.open()
    this.#dialog.querySelector("a")?.focus()
  }

  /**
   * Open where cookies are stored, since there are none that could be used, and say how they get there.
   * @param {string} host
   */
  async openCookies(host) {
    await this.open()
    this.#about?.askForCookies(host)
  }

  /** @param {string} theme */
  #choose(theme) {
    remember("theme", theme)
    this.#show(theme)
  }

  /** @param {string} theme */
  #show(theme) {
    this.#theme.value = THEMES.includes(theme) ? theme : "auto"
    document.documentElement.dataset.theme = this.#theme.value
  }
}
