// @ts-check
// What the settings show of the service: its presets and its readiness checks. Fetched when the settings open.

import { CookieList } from "./cookielist.js"
import { byId, setText } from "./dom.js"
import { remember } from "./preferences.js"
import { Problem } from "./problem.js"
import { DEFAULTS } from "./wishes.js"

/** @typedef {import("./readiness.js").Check} Check */

export class About {
  #dialog = byId("settings", HTMLDialogElement)
  #i18n
  #api
  #cookies

  /** @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api}} parts */
  constructor({ i18n, api }) {
    this.#i18n = i18n
    this.#api = api
    this.#part("reset").addEventListener("click", () => this.#reset())
    this.#cookies = new CookieList(this.#part("cookies"), api, i18n)
    this.#dialog.addEventListener("close", () => this.#clear())
  }

  /** Show the options that this browser remembers, in words. */
  #sayUsual() {
    setText(this.#part("usual"), document.querySelector("[data-part=chosen]")?.textContent ?? "")
  }

  #reset() {
    const preset = byId("submit", HTMLFormElement).elements.namedItem("preset")
    if (!(preset instanceof HTMLSelectElement)) return
    remember("options", DEFAULTS)
    preset.value = ""
    preset.dispatchEvent(new Event("change", { bubbles: true })) // without a preset the form shows what is remembered
    this.#sayUsual()
  }

  /** Show how links get here from other pages; the bookmarklet contains the address of this page. */
  #offer() {
    const link = document.createElement("a") // made here: a link without an address is none
    const page = new URL("./", document.baseURI).href
    link.setAttribute(
      "href",
      `javascript:location.href=${JSON.stringify(`${page}?url=`)}+encodeURIComponent(location.href)`,
    )
    link.className = "button"
    link.textContent = this.#i18n.t("elsewhere.bookmarklet")
    link.onclick = (event) => event.preventDefault() // the bookmarklet is for other pages
    this.#part("bookmarklet").replaceChildren(link)
    setText(this.#part("install"), this.#i18n.t(isSecureContext ? "elsewhere.install" : "elsewhere.https"))
  }

  /** Fetch everything again; what the server does not answer is not shown. */
  async show() {
    this.#offer()
    this.#sayUsual()
    const [presets, checks] = await Promise.all([
      this.#ask("api/presets"),
      this.#ask("readyz"),
      this.#cookies.show(),
    ])
    if (!this.#dialog.open) return // closed meanwhile
    this.#list(
      "presets",
      Object.entries(presets?.presets ?? {}).map(([name, fields]) => [name, described(fields)]),
    )
    this.#list("service", [
      ["Clipwire", document.documentElement.dataset.version ?? ""],
      ...Object.entries(checks?.checks ?? {}).map(([name, check]) => this.#check(name, check)),
    ])
  }

  /** @param {string} host  of whose pages cookies are wanted */
  askForCookies(host) {
    this.#cookies.ask(host)
  }

  /** Empty the dialog: the next user of this browser may not be logged in. */
  #clear() {
    this.#cookies.clear()
    this.#list("presets", [])
    this.#list("service", [])
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#dialog.querySelector(`[data-part=${name}]`))
  }

  /** @param {string} path */
  async #ask(path) {
    try {
      return await this.#api.get(path)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      return error.body // a 503 says what the service lacks
    }
  }

  /**
   * @param {string} name
   * @param {Check} check
   * @returns {[string, string, boolean]}
   */
  #check(name, { ok, detail, values: { free, floor } = {} }) {
    const { format } = this.#i18n
    const sizes = free !== undefined && { free: format.size(free), floor: format.size(floor) }
    return [
      this.#i18n.t(`check.${name}`, {}, name),
      sizes ? this.#i18n.t("settings.room", sizes) : detail,
      !ok,
    ]
  }

  /**
   * @param {string} name
   * @param {[term: string, text: string, isBad?: boolean][]} rows
   */
  #list(name, rows) {
    this.#part(`about-${name}`).hidden = !rows.length
    this.#part(name).replaceChildren(...rows.flatMap(([term, text, isBad]) => {
      const [dt, dd] = [document.createElement("dt"), document.createElement("dd")]
      dt.textContent = term
      dd.textContent = isBad ? `⚠ ${text}` : text
      return [dt, dd]
    }))
  }
}

/** @param {unknown} fields  `quality "720", outputs video+audio` */
const described = (fields) =>
  Object.entries(/** @type {Record<string, unknown>} */ (fields)).map(([name, value]) =>
    `${name} ${Array.isArray(value) ? value.join("+") : JSON.stringify(value)}`
  ).join(", ")
