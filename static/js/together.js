// @ts-check
// What is done with many tasks at once: those that were selected, or all that failed.

import { menuOf, primaryOf } from "./choices.js"
import { byId, on, setText } from "./dom.js"
import { keepFocus } from "./focus.js"

/** The most tasks that the server acts on at once, and that it puts into one archive. */
const AT_ONCE = 500
const IN_ARCHIVE = 200
/** What can be done with many; the words are `selected.<name>`. */
const ACTIONS = ["pause", "resume", "retry", "cancel", "delete"]

export class Together {
  #bar = byId("selected", HTMLElement)
  #count = /** @type {HTMLElement} */ (this.#bar.querySelector("[data-part=count]"))
  #zip = /** @type {HTMLAnchorElement} */ (this.#bar.querySelector("[data-part=zip]"))
  #line = byId("undone", HTMLElement)
  #words = /** @type {HTMLElement} */ (this.#line.querySelector("[data-part=words]"))
  #back = /** @type {HTMLButtonElement} */ (this.#line.querySelector("button"))
  /** The tasks that were cancelled or deleted together last, as long as that can be taken back. */
  #parted = { name: "", ids: /** @type {string[]} */ ([]) }
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
    on(selection, "change", () => this.show())
    on(tasks, "change", () => this.#selection.size && this.#refresh())
    on(undo, "change", () => this.#parted.ids.length && this.#showParted())
    this.#back.addEventListener("click", () => this.#takeBack())
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
    const [all, ids] = [this.#selection.ids, this.#fit(name)]
    if (name !== "clear" && !ids.length) return
    const isOfKeyboard = this.#bar.querySelector(":focus-visible") !== null
    const first = [...ids, ...all].map((id) => this.#rows.row(id)).find(Boolean)
    this.#selection.clear()
    if (isOfKeyboard) first?.focus("") // the bar is gone
    if (name === "clear") return
    if (name === "delete") this.#undo.deleteAll(ids)
    else {
      for (let from = 0; from < ids.length; from += AT_ONCE) {
        await this.#actions.runMany({ action: name, ids: ids.slice(from, from + AT_ONCE) })
      }
    }
    const parted = name === "cancel" ? ids.filter((id) => this.#tasks.get(id)?.stage === "cancelled") : ids
    if (!["cancel", "delete"].includes(name) || !parted.length) return
    if (name === "cancel") { for (const id of parted) this.#undo.cancelled(id) }
    this.#parted = { name, ids: parted }
    this.#showParted()
    const { activeElement } = document // a button of the bar, which is gone, until the browser notices
    const isLost = !activeElement || activeElement === document.body || this.#bar.contains(activeElement)
    if (isLost || activeElement === first?.element) this.#back.focus({ preventScroll: true })
  }

  async #takeBack() {
    const { ids } = this.#parted
    const first = ids.map((id) => this.#rows.row(id)).find(Boolean)
    keepFocus(first?.element, () => this.#hideParted())
    await this.#undo.takeBackAll(ids)
  }

  /** Say what was done together, as long as it can be taken back. */
  #showParted() {
    const { name, ids } = this.#parted
    const left = ids.filter((id) => ["undo", "cancelled"].includes(this.#undo.of(id)))
    const first = left.map((id) => this.#rows.row(id)).find(Boolean)
    if (!left.length) return keepFocus(first?.element, () => this.#hideParted())
    this.#line.hidden = false
    const key = name === "cancel" ? "undo.many_cancelled" : "undo.many_deleted"
    setText(this.#words, this.#i18n.t(key, { n: left.length }))
  }

  #hideParted() {
    this.#parted = { name: "", ids: [] }
    this.#line.hidden = true
  }

  /**
   * Those of the selected tasks with which this can be done now.
   * @param {string} name
   */
  #fit(name) {
    return this.#selection.ids.filter((id) => {
      const task = this.#tasks.get(id)
      return task && [primaryOf(task), ...menuOf(task)].includes(name)
    })
  }

  show() {
    const { size } = this.#selection
    this.#bar.hidden = !size
    document.documentElement.toggleAttribute("data-selecting", size > 0)
    if (size) this.#refresh(true)
  }

  /**
   * Offer what applies. When tasks change by themselves while the reader aims at the bar, no button comes, goes or
   * moves: one that applies to none any more is disabled.
   * @param {boolean} [isChosen]  the reader has changed the selection
   */
  #refresh(isChosen = false) {
    const mayMove = isChosen || !this.#bar.matches(":hover, :focus-within")
    setText(this.#count, this.#i18n.t("selected.count", { n: this.#selection.size }))
    for (const name of ACTIONS) {
      const button = /** @type {HTMLButtonElement} */ (this.#bar.querySelector(`[data-together=${name}]`))
      const n = this.#fit(name).length
      setText(button, this.#i18n.t(`selected.${name}`, { n }))
      button.ariaDisabled = String(!n)
      if (mayMove) button.hidden = !n
    }
    const finished = this.#selection.ids.filter((id) => Object.keys(this.#tasks.get(id)?.files ?? {}).length)
    if (mayMove) this.#zip.hidden = !finished.length || finished.length > IN_ARCHIVE
    setText(this.#zip, this.#i18n.t("selected.zip", { n: finished.length }))
    this.#zip.href = this.#api.url("api/download.zip", { ids: finished.join(",") }).href
  }
}
