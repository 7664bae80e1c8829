// @ts-check
// The list of stored cookie files, with their hosts and ends, to add and to delete. The server never returns cookies.

import { setText } from "./dom.js"
import { Problem } from "./problem.js"

/** @typedef {{name: string, hosts: string[], expires_at?: string, count: number, expired: number}} Stored */

const MOST_HOSTS = 3

export class CookieList {
  #root
  #list
  #problem
  #file
  #wanted
  #api
  #i18n

  /**
   * @param {HTMLElement} root
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, api, i18n) {
    this.#root = root
    this.#api = api
    this.#i18n = i18n
    this.#list = /** @type {HTMLElement} */ (root.querySelector("ul"))
    this.#problem = /** @type {HTMLElement} */ (root.querySelector(".problem"))
    const file = this.#file = /** @type {HTMLInputElement} */ (root.querySelector("input[type=file]"))
    this.#wanted = /** @type {HTMLElement} */ (root.querySelector("[data-part=wanted]"))
    file.addEventListener("change", async () => {
      const [chosen] = file.files ?? []
      if (chosen) await this.#try(() => this.#put(chosen))
      file.value = ""
    })
  }

  async show() {
    try {
      const { cookies } = await this.#api.get("api/cookies")
      if (!this.#list.closest("dialog")?.open) return // closed meanwhile
      this.#list.replaceChildren(...cookies.map((/** @type {Stored} */ stored) => this.#item(stored)))
      this.#root.hidden = false
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#root.hidden = true // a service without stored cookies
    }
  }

  /**
   * Lead to the field for a file, and say what to do.
   * @param {string} host
   */
  ask(host) {
    setText(this.#wanted, this.#i18n.t("cookies.wanted", { host }))
    this.#file.scrollIntoView({ block: "center" })
    this.#file.focus()
  }

  clear() {
    setText(this.#wanted, "")
    this.#root.hidden = true
    this.#list.replaceChildren()
  }

  /** @param {Stored} stored */
  #item({ name, hosts, expires_at, count, expired }) {
    const { t, format } = { t: this.#i18n.t.bind(this.#i18n), format: this.#i18n.format }
    const [row, words, about, remove] = ["li", "bdi", "span", "button"].map((tag) =>
      document.createElement(tag)
    )
    const shown = hosts.slice(0, MOST_HOSTS).join(", ") + (hosts.length > MOST_HOSTS ? ", …" : "")
    const isOver = expired === count
    const end = isOver
      ? t("cookies.over")
      : expires_at && t("cookies.until", { time: format.whole(new Date(expires_at)) })
    words.textContent = name
    about.textContent = [shown, end].filter(Boolean).join(" · ")
    remove.textContent = t("action.delete")
    remove.setAttribute("aria-label", `${t("action.delete")}: ${name}`)
    remove.addEventListener("click", () => this.#try(() => this.#delete(name, row)))
    row.append(words, about, remove)
    return row
  }

  /** @param {File} file */
  async #put(file) {
    const name = file.name.replace(/\.[^.]*$/, "").replace(/[^\w-]+/g, "-").slice(0, 64) || "cookies"
    const request = { method: "PUT", headers: { "Content-Type": "text/plain" }, body: await file.text() }
    const answer = await fetch(this.#api.url(`api/cookies/${name}`), request)
    if (!answer.ok) throw new Problem(answer.status, await answer.json().catch(() => ({})))
  }

  /**
   * @param {string} name
   * @param {HTMLElement} row
   */
  async #delete(name, row) {
    const next = row.nextElementSibling ?? row.previousElementSibling
    await this.#api.send("DELETE", `api/cookies/${name}`)
    const after = next?.querySelector("button") ?? this.#root.querySelector("input")
    after?.focus()
  }

  /** @param {() => Promise<void>} act */
  async #try(act) {
    setText(this.#problem, "")
    try {
      await act()
    } catch (error) {
      if (error instanceof Problem) setText(this.#problem, error.message)
      else setText(this.#problem, this.#i18n.t("problem.no_answer"))
    }
    await this.show()
  }
}
