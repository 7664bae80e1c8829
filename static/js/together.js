// @ts-check
// What is done with many tasks at once: those that were selected, or all that failed.

import { byId, on, setText } from "./dom.js"

/** The most tasks that the server acts on at once, and that it puts into one archive. */
const AT_ONCE = 500
const IN_ARCHIVE = 200

export class Together {
  #bar = byId("selected", HTMLElement)
  #count = /** @type {HTMLElement} */ (this.#bar.querySelector("[data-part=count]"))
  #zip = /** @type {HTMLAnchorElement} */ (this.#bar.querySelector("[data-part=zip]"))
  #selection
  #tasks
  #undo
  #api
  #actions
  #rows
  #i18n

  /**
   * @param {object} parts
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("./tasks.js").Tasks} parts.tasks
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("./api.js").Api} parts.api
   * @param {import("./actions.js").Actions} parts.actions
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor({ selection, tasks, undo, api, actions, rows, i18n }) {
    this.#selection = selection
    this.#tasks = tasks
    this.#undo = undo
    this.#api = api
    this.#actions = actions
    this.#rows = rows
    this.#i18n = i18n
    on(selection, "change", () => this.#show())
    this.#bar.addEventListener("click", ({ target }) => {
      const name = target instanceof Element
        ? target.closest("[data-together]")?.getAttribute("data-together")
        : ""
      if (name) this.#do(name)
    })
  }

  /** Retry all failed tasks, batch by batch, until the server has no more. */
  async retryFailed() {
    while (await this.#actions.runMany({ action: "retry", stage: "failed" }));
  }

  /** @param {string} name */
  async #do(name) {
    const { ids } = this.#selection
    this.#selection.clear()
    if (name === "delete") this.#delete(ids)
    if (name === "delete" || name === "clear") return
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      await this.#actions.runMany({ action: name, ids: ids.slice(from, from + AT_ONCE) })
    }
  }

  /** @param {string[]} ids */
  #delete(ids) {
    this.#undo.deleteAll(ids)
    ids.map((id) => this.#rows.row(id)).find(Boolean)?.focus("undo") // the bar is gone
  }

  #show() {
    const { ids, size } = this.#selection
    this.#bar.hidden = !size
    document.documentElement.toggleAttribute("data-selecting", size > 0)
    if (!size) return
    setText(this.#count, this.#i18n.t("selected.count", { n: size }))
    const finished = ids.filter((id) => Object.keys(this.#tasks.get(id)?.files ?? {}).length)
    this.#zip.hidden = !finished.length || finished.length > IN_ARCHIVE
    this.#zip.href = this.#api.url("api/download.zip", { ids: finished.join(",") }).href
  }
}
