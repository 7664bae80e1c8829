// @ts-check
// The links that open one file of a task without a log-in: a list of the valid ones, each with its expiry and
// a button that revokes it.

import { Problem } from "../base/api.js"
import { setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"
import { kindName } from "./files.js"

/** @typedef {{id: string, url: string, expires_at: string, kind: string}} OpenLink */

/** Fires the id of a task when a link to one of its files was made on this page. */
export const madeLinks = new EventTarget()

export class LinkList {
  element = make("div", { className: "open-links", hidden: true })
  #path
  #parts
  #list = make("ul")
  #problem = make("p", { role: "alert" })
  #end = new AbortController()

  /**
   * @param {string} taskId
   * @param {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n}} parts
   */
  constructor(taskId, parts) {
    this.#path = `api/tasks/${taskId}/links`
    this.#parts = parts
    this.element.append(make("h3", {}, parts.i18n.t("links.open")), this.#list, this.#problem)
    madeLinks.addEventListener(taskId, () => this.load(), { signal: this.#end.signal })
  }

  close() {
    this.#end.abort()
  }

  async load() {
    /** @type {{links: OpenLink[]} | null} */
    const answer = await this.#parts.api.get(this.#path, {}, { signal: this.#end.signal })
      .catch(() => null) // without the links, the row shows everything else
    if (!answer) return
    this.#list.replaceChildren(...answer.links.map((link) => this.#item(link)))
    this.element.hidden = !answer.links.length
  }

  /** @param {OpenLink} link */
  #item({ id, kind, expires_at }) {
    const { i18n } = this.#parts
    const words = i18n.t("token.revoke")
    const name = kindName(kind, i18n)
    const until = i18n.t("token.until", { time: i18n.format.moment(new Date(expires_at)) })
    const revoke = button(words, () => this.#revoke(id, item), {
      "aria-label": `${words}: ${name}, ${until}`,
    })
    const item = make(
      "li",
      {},
      make("span", { className: "kind" }, name),
      make("span", { className: "about" }, until),
      revoke,
    )
    return item
  }

  /**
   * @param {string} id
   * @param {HTMLElement} item
   */
  async #revoke(id, item) {
    setText(this.#problem, "")
    try {
      await this.#parts.api.send("DELETE", `api/links/${id}`)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      // The link has expired by now.
      if (error.code !== "link_not_found") return setText(this.#problem, error.message)
    }
    const next = item.nextElementSibling ?? item.previousElementSibling
    const hadFocus = item.contains(document.activeElement)
    item.remove()
    if (hadFocus && next) next.querySelector("button")?.focus()
    else if (hadFocus) this.#focusRow()
    this.element.hidden = !next
  }

  /** Remove the list, whose last link is gone. */
  #focusRow() {
    /** @type {HTMLElement | null | undefined} */
    const heir = this.element.closest(".details")?.querySelector(".file .button, summary")
    heir?.focus()
  }
}
