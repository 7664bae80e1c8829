// @ts-check
// What the settings show of the service: presets, what it needs and whether that is there. Asked for when they open.

import { CookieList } from "./cookielist.js"
import { byId, setText } from "./dom.js"
import { remember } from "./preferences.js"
import { Problem } from "./problem.js"
import { DEFAULTS } from "./wishes.js"

/** @typedef {import("./readiness.js").Check} Check */

const BYTES = /^(\d+) bytes free.*?(\d+)$/

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

  /** What is chosen in the box is what this browser remembers. */
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

  /** How links come here from elsewhere; a script in a link is made for this address when somebody looks. */
  #offer() {
    const link = this.#part("bookmarklet")
    const page = new URL("./", document.baseURI).href
    link.setAttribute(
      "href",
      `javascript:location.href=${JSON.stringify(`${page}?url=`)}+encodeURIComponent(location.href)`,
    )
    link.onclick = (event) => event.preventDefault() // it is for other pages
    setText(this.#part("install"), this.#i18n.t(isSecureContext ? "elsewhere.install" : "elsewhere.https"))
  }

  /** Ask again; what does not answer is not shown. */
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

  /** Whoever looks next may be nobody who is logged in. */
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
      return error.body // `503` of a service that lacks something says what
    }
  }

  /**
   * @param {string} name
   * @param {Check} check
   * @returns {[string, string, boolean]}
   */
  #check(name, { ok, detail }) {
    const [, free, floor] = BYTES.exec(detail) ?? []
    const { format } = this.#i18n
    const sizes = free && { free: format.size(Number(free)), floor: format.size(Number(floor)) }
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
