// @ts-check
// The list of stored cookie files, with their hosts and expiry times, where files are added and deleted. The
// server never returns cookies.

import { Problem } from "../base/api.js"
import { byId, on, setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"
import { FOR_ONCE } from "../intake/options.js"
import { wholeForm } from "../intake/optionsform.js"
import { chosenOf, sentenceOf } from "../intake/optionwords.js"
import { ownedPath, owners } from "../tasks/task.js"

/** @typedef {{name: string, hosts: string[], expires_at?: string, count: number, expired: number, owner?: string}} Stored */

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
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
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
      if (!this.#list.closest("dialog")?.open) return // the dialog was closed meanwhile
      this.#list.replaceChildren(...cookies.map((/** @type {Stored} */ stored) => this.#item(stored)))
      this.#root.hidden = false
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#root.hidden = true // a service may have no stored cookies
    }
  }

  /**
   * Scroll to the field for a file, and say what to do.
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
  #item({ name, hosts, expires_at, count, expired, owner }) {
    const { t, format } = { t: this.#i18n.t.bind(this.#i18n), format: this.#i18n.format }
    const shown = hosts.slice(0, MOST_HOSTS).join(", ") + (hosts.length > MOST_HOSTS ? ", …" : "")
    const isOver = expired === count
    const end = isOver
      ? t("cookies.over")
      : expires_at && t("cookies.until", { time: format.whole(new Date(expires_at)) })
    const whose = owner && owner !== owners.admin ? t("people.of", { name: owner }) : ""
    const path = ownedPath(`api/cookies/${name}`, owner)
    const remove = button(t("action.delete"), () => this.#try(() => this.#delete(path, row)), {
      "aria-label": [`${t("action.delete")}: ${name}`, whose].filter(Boolean).join(" · "),
    })
    const about = [whose, shown, end].filter(Boolean).join(" · ")
    const row = make("li", {}, make("bdi", {}, name), make("span", {}, about), remove)
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
   * @param {string} path
   * @param {HTMLElement} row
   */
  async #delete(path, row) {
    const next = row.nextElementSibling ?? row.previousElementSibling
    await this.#api.send("DELETE", path)
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

// What the settings show of the service: its presets and its readiness checks. They are requested when the
// settings open.

/** @typedef {import("../header/header.js").Check} Check */

export class About {
  #dialog = byId("settings", HTMLDialogElement)
  #i18n
  #api
  #options
  #openSubscriptions
  #cookies
  #form
  #follow = make("p", { className: "follow" })

  /** @param {{i18n: import("../base/i18n.js").I18n, api: import("../base/api.js").Api, options: import("../intake/options.js").Options, openSubscriptions: () => unknown}} parts */
  constructor({ i18n, api, options, openSubscriptions }) {
    this.#options = options
    this.#openSubscriptions = openSubscriptions
    this.#i18n = i18n
    this.#api = api
    const { form, elements } = wholeForm(options, i18n, FOR_ONCE)
    this.#form = form
    this.#part("defaults").querySelector("summary")?.after(...elements)
    this.#part("defaults").addEventListener("toggle", () => form.ask(api))
    this.#part("reset").addEventListener("click", () => options.reset())
    on(options, "change", () => this.#sayUsual())
    this.#cookies = new CookieList(this.#part("cookies"), api, i18n)
    this.#dialog.addEventListener("close", () => this.#clear())
  }

  /** Show the options that this browser remembers, in words. */
  #sayUsual() {
    setText(this.#part("usual"), sentenceOf(this.#options.chosen, this.#i18n))
  }

  /** Show how links get here from other pages; the bookmarklet contains the address of this page. */
  #offer() {
    const page = new URL("./", document.baseURI).href
    // The link is made here, because the bookmarklet needs the address of this page.
    const link = make("a", {
      className: "button",
      href: `javascript:location.href=${JSON.stringify(`${page}?url=`)}+encodeURIComponent(location.href)`,
      onclick: (/** @type {Event} */ event) => event.preventDefault(), // the bookmarklet is for other pages
    }, this.#i18n.t("elsewhere.bookmarklet"))
    const install = this.#part("install")
    const follow = button(this.#i18n.t("elsewhere.follow"), () => {
      this.#dialog.close()
      return this.#openSubscriptions()
    })
    this.#part("bookmarklet").replaceChildren(link)
    this.#follow.replaceChildren(follow)
    install.after(this.#follow)
    setText(install, this.#i18n.t(isSecureContext ? "elsewhere.install" : "elsewhere.https"))
  }

  /** Request everything again; parts that the server does not answer are not shown. */
  async show() {
    this.#offer()
    this.#form.make() // in the present language
    this.#sayUsual()
    const [presets, checks] = await Promise.all([
      this.#ask("api/presets"),
      this.#ask("readyz"),
      this.#cookies.show(),
    ])
    if (!this.#dialog.open) return // the dialog was closed meanwhile
    this.#list(
      "presets",
      Object.entries(presets?.presets ?? {}).map(([name, fields]) => [
        name,
        sentenceOf(/** @type {any} */ (chosenOf(/** @type {any} */ (fields))), this.#i18n),
      ]),
    )
    this.#list("service", this.#service(Object.entries(checks?.checks ?? {})))
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
      return error.body // a 503 comes with the failed checks
    }
  }

  /**
   * Describe the checks: in one line if nothing necessary is missing, otherwise each of them.
   * @param {[name: string, check: Check][]} checks
   * @returns {[term: string, text: string, isBad?: boolean][]}
   */
  #service(checks) {
    const version = document.documentElement.dataset.version ?? ""
    const isWell = checks.length > 0 && checks.every(([, { ok, needed }]) => ok || !needed)
    if (!isWell) return [["Clipwire", version], ...checks.map(([name, check]) => this.#check(name, check))]
    // The age of yt-dlp, and the space on the disk.
    const told = checks.filter(([name]) => name === "yt_dlp" || name === "disk")
    return [
      [`Clipwire ${version}`, this.#i18n.t("settings.well")],
      ...told.map(([name, check]) => this.#check(name, check)),
    ]
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
    this.#part(name).replaceChildren(...rows.flatMap(([term, text, isBad]) => [
      make("dt", {}, term),
      make("dd", {}, isBad ? `⚠ ${text}` : text),
    ]))
  }
}
