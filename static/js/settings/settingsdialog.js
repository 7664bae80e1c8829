// @ts-check
// The dialog of the settings, which hold for this browser.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { button, icon, make } from "../base/elements.js"
import { LANGUAGES } from "../base/i18n.js"
import { recall, remember } from "../base/preferences.js"
import { NotifyChoice } from "../notices/notify.js"
import { About } from "./about.js"

/** @type {Record<string, string>} */
const THEMES = { auto: "theme.auto", light: "theme.light", dark: "theme.dark" }

export class SettingsDialog {
  #parts
  #settings
  #about
  #notify
  #dialog
  /** The section of `Settings` that is shown. @type {HTMLElement | undefined} */
  #section
  #logout = button("", () => this.#settings.dispatchEvent(new Event("logout")), { "data-t": "menu.logout" })
  #language = make(
    "select",
    { id: "language" },
    ...Object.entries(LANGUAGES).map(([value, name]) => new Option(name, value)),
  )
  #theme = make(
    "select",
    { id: "theme" },
    ...Object.entries(THEMES).map(([value, words]) => make("option", { value, "data-t": words })),
  )

  /**
   * @param {ConstructorParameters<typeof import("./settings.js").Settings>[0]} parts
   * @param {import("./settings.js").Settings} settings
   */
  constructor(parts, settings) {
    this.#parts = parts
    this.#settings = settings
    const dialog = this.#dialog = this.#made()
    document.body.append(dialog)
    dialog.addEventListener("click", ({ target }) => target === dialog && dialog.close())
    this.#about = new About(parts)
    this.#notify = new NotifyChoice(parts.i18n)
    this.#language.value = parts.i18n.language
    this.#language.addEventListener("change", () => this.#choose())
    const theme = recall("theme", "")
    this.#theme.value = theme in THEMES ? theme : "auto"
    this.#theme.addEventListener("change", () => {
      remember("theme", this.#theme.value)
      document.documentElement.dataset.theme = this.#theme.value
    })
  }

  async open() {
    const { session, i18n } = this.#parts
    this.#section?.remove()
    this.#section = this.#settings.section
    if (this.#section) this.#theme.parentElement?.after(this.#section)
    i18n.translate(this.#dialog)
    this.#notify.show()
    this.#dialog.toggleAttribute("data-alone", session.isWanted) // all other sections need a log-in
    this.#logout.hidden = !session.isLoggedIn
    openDialog(this.#dialog)
    if (!session.isWanted) await this.#about.show()
  }

  /** Scroll to the section that says how links come here from other pages and from phones. */
  showElsewhere() {
    this.#dialog.querySelector("a")?.focus()
  }

  /**
   * Scroll to the section of cookies, because there are none to use, and say how to store some.
   * @param {string} host
   */
  askForCookies(host) {
    this.#about.askForCookies(host)
  }

  async #choose() {
    const { i18n } = this.#parts
    try {
      await i18n.choose(this.#language.value)
    } catch {
      throw new Problem(0, { detail: i18n.t("problem.no_answer") })
    } finally {
      this.#language.value = i18n.language
    }
    this.#settings.dispatchEvent(new Event("language"))
    this.#notify.show()
    await this.#about.show()
  }

  #made() {
    const words = (/** @type {string} */ key) => make("span", { "data-t": key })
    const line = (/** @type {string} */ key, /** @type {HTMLElement} */ field) =>
      make("label", { className: "field line" }, words(key), field)
    const section = (
      /** @type {string} */ key,
      /** @type {Record<string, any>} */ properties,
      /** @type {HTMLElement[]} */ ...children
    ) => make("section", properties, make("h3", { "data-t": key }), ...children)
    const lead = (/** @type {Record<string, any>} */ properties) =>
      make("p", { className: "lead", ...properties })
    const ofService = { className: "of-service" }
    const close = make("button", { className: "icon-only", "data-t-label": "dialog.close" }, icon("cancel"))
    return make(
      "dialog",
      { id: "settings", className: "sheet", "aria-labelledby": "settings-title" },
      make(
        "header",
        {},
        make("h2", { id: "settings-title", "data-t": "settings.title" }),
        make("form", { method: "dialog" }, close),
      ),
      line("settings.language", this.#language),
      line("settings.theme", this.#theme),
      section(
        "settings.options",
        {},
        make(
          "details",
          { "data-part": "defaults" },
          make("summary", {}, icon("chevron"), " ", make("span", { "data-part": "usual" })),
          make("button", { type: "button", "data-part": "reset", "data-t": "settings.reset" }),
        ),
      ),
      section(
        "settings.notify",
        {},
        make(
          "label",
          { className: "tick" },
          make("input", { id: "notify", type: "checkbox" }),
          words("notice.want"),
        ),
        lead({ id: "notify-why" }),
      ),
      section(
        "settings.elsewhere",
        ofService,
        make("p", { "data-part": "bookmarklet" }),
        lead({ "data-t": "elsewhere.drag" }),
        lead({ "data-part": "install" }),
      ),
      section(
        "settings.cookies",
        { className: "of-service cookies", "data-part": "cookies", hidden: true },
        make("ul"),
        make("p", { className: "problem", role: "alert" }),
        make("p", { id: "cookies-wanted", "data-part": "wanted" }),
        make(
          "label",
          { className: "field" },
          words("cookies.add"),
          make("input", { type: "file", accept: ".txt,text/plain", "aria-describedby": "cookies-wanted" }),
        ),
      ),
      ...[["settings.presets", "presets"], ["settings.service", "service"]].map(([key, part]) =>
        section(
          key,
          { ...ofService, "data-part": `about-${part}`, hidden: true },
          make("dl", { "data-part": part }),
        )
      ),
      make(
        "p",
        { className: "usual" },
        make("a", { className: "lead", href: "api/docs", "data-t": "settings.api" }),
        this.#logout,
      ),
    )
  }
}
