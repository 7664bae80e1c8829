// @ts-check
// The bar with actions on many tasks at once: on the selected ones, or on all that failed.

import { ACTIONS, applies } from "../row/actions.js"
import { byId, keepFocus, on, setText } from "../base/dom.js"
import { icon, make } from "../base/elements.js"
import { hasLibrary, LAYOUTS } from "../base/library.js"
import { LARGEST_PAGE } from "./pages.js"
import { isAsking } from "../tasks/task.js"

/** The most tasks that the server acts on in one request, and that it puts into one archive. */
const AT_ONCE = 500
const IN_ARCHIVE = 200
/** The ages in days, of which the reader chooses one to select all older tasks. */
const AGES_DAYS = [7, 30, 90]
const DAY_MS = 86_400_000

/** @param {string} name  @param {Record<string, string | boolean>} [properties] */
const many = (name, properties = {}) => make("button", { type: "button", "data-many": name, ...properties })

export class SelectionBar {
  #count = make("span", { "data-part": "count" })
  #all = many("all", { hidden: true })
  #zip = make("a", { className: "button", href: "api/download.zip", download: "", "data-part": "zip" })
  #bar = make(
    "div",
    {
      id: "selected",
      className: "selected",
      role: "toolbar",
      "data-t-label": "selected.title",
      hidden: true,
    },
    this.#count,
    many("clear", { className: "icon-only", "data-t-label": "selected.clear" }),
    this.#all,
    many("older", { "aria-haspopup": "menu", "data-t": "selected.older" }),
    ...["pause", "resume", "retry", "cancel", "delete"].map((name) => many(name)),
    this.#zip,
  )
  #words = make("span", { role: "status" })
  #back = make("button", { type: "button", "data-t": "action.undo" })
  #line = make("p", { id: "undone", className: "line-note", hidden: true }, this.#words, " ", this.#back)
  /**
   * The button that puts selected tasks into the library, if there is a library.
   * @type {HTMLButtonElement | undefined}
   */
  #place
  /** The tasks that were last cancelled or deleted together, as long as this can be taken back. */
  #undoable = { name: "", ids: /** @type {string[]} */ ([]) }
  #selection
  #tasks
  #undo
  #api
  #requests
  #rows
  #i18n
  #list
  #menu
  #total
  #loadRest

  /**
   * @param {object} parts
   * @param {import("./list.js").TaskList} parts.list
   * @param {import("../header/menu.js").Menu} parts.menu
   * @param {() => number} parts.total  how many tasks belong to the list; 0: nobody knows
   * @param {() => Promise<unknown>} parts.loadRest  of the list
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {import("../row/undo.js").Undo} parts.undo
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../row/requests.js").TaskRequests} parts.requests
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor({ selection, tasks, list, menu, total, loadRest, undo, api, requests, rows, i18n }) {
    this.#list = list
    this.#menu = menu
    this.#total = total
    this.#loadRest = loadRest
    this.#selection = selection
    this.#tasks = tasks
    this.#undo = undo
    this.#api = api
    this.#requests = requests
    this.#rows = rows
    this.#i18n = i18n
    this.#button("clear").append(icon("cancel"))
    const lines = /** @type {HTMLElement} */ (document.querySelector(".lines"))
    lines.append(this.#line, this.#bar)
    i18n.translate(lines)
    on(selection, "change", () => this.show())
    this.show()
    this.#meetLibrary()
    on(tasks, "change", () => this.#selection.size && this.#refresh())
    on(undo, "change", () => this.#undoable.ids.length && this.#showUndoable())
    this.#back.addEventListener("click", () => this.#takeBack())
    this.#bar.addEventListener("click", ({ target }) => {
      const name = target instanceof Element ? target.closest("[data-many]")?.getAttribute("data-many") : ""
      if (name) this.#do(name)
    })
  }

  /** @param {string} name */
  async #do(name) {
    if (name === "all") return this.#selectAll()
    if (name === "older") return this.chooseOlder()
    if (name === "place") return this.#choosePlace()
    const [all, ids] = [this.#selection.ids, this.#fit(name)]
    if (name !== "clear" && !ids.length) return
    const isOfKeyboard = this.#bar.querySelector(":focus-visible") !== null
    const first = [...ids, ...all].map((id) => this.#rows.row(id)).find(Boolean)
    this.#selection.clear()
    this.show()
    if (isOfKeyboard) first?.focus("") // the focused button has gone with the bar
    if (name === "clear") return
    const paused = ids.filter((id) => this.#tasks.get(id)?.stage === "paused")
    if (name === "delete") this.#undo.deleteAll(ids)
    else await this.#runAll(name, ids)
    const done = name === "cancel" ? ids.filter((id) => this.#tasks.get(id)?.stage === "cancelled") : ids
    if (!["cancel", "delete"].includes(name) || !done.length) return
    if (name === "cancel") { for (const id of done) this.#undo.cancelled(id, paused.includes(id)) }
    this.#undoable = { name, ids: done }
    this.#showUndoable()
    const { activeElement } = document // the browser may not have noticed yet that the focused button is gone
    const isLost = !activeElement || activeElement === document.body || this.#bar.contains(activeElement)
    if (isLost || activeElement === first?.element) this.#back.focus({ preventScroll: true })
  }

  /**
   * Retry all failed tasks, and the failed entries of lists. A task that only asks the reader something has
   * not failed.
   * @param {string} owner whose; "": everybody's
   */
  async retryFailed(owner) {
    /** @type {string[]} */
    const ids = []
    /** @type {string | undefined} */
    let cursor
    do {
      const query = { stage: "failed", folded: 1, owner, limit: LARGEST_PAGE, cursor }
      const page = await this.#api.get("api/tasks", query)
      for (const task of page.tasks) if (!isAsking(task)) ids.push(task.task_id)
      cursor = page.next_cursor
    } while (cursor)
    await this.#runAll("retry", ids)
  }

  /**
   * @param {string} action
   * @param {string[]} ids
   */
  async #runAll(action, ids) {
    for (let from = 0; from < ids.length; from += AT_ONCE) {
      await this.#requests.runAll({ action, ids: ids.slice(from, from + AT_ONCE) })
    }
  }

  /** Select all tasks of the list, also those that are not loaded yet. */
  async #selectAll() {
    await this.#loadRest()
    this.#selection.all(this.#list.tasks)
  }

  async #meetLibrary() {
    if (!await hasLibrary(this.#api)) return
    this.#place = many("place", { "aria-haspopup": "menu" })
    this.#zip.before(this.#place)
    this.#refresh(true)
  }

  /** Return the selected tasks with files that are not in the library. */
  get #unplaced() {
    return this.#selection.ids.flatMap((id) => {
      const task = this.#tasks.get(id)
      const hasFiles = task?.stage === "completed" && Object.keys(task.files).length > 0
      return hasFiles && task.library?.state !== "placed" ? task : []
    })
  }

  /** Let the reader choose the layout for the library; a task whose request names one keeps that. */
  #choosePlace() {
    const tasks = this.#unplaced
    if (!tasks.length || !this.#place) return
    const items = Object.entries(LAYOUTS).map(([name, words]) => ({
      name,
      icon: "check",
      text: this.#i18n.t(words),
    }))
    this.#menu.open(this.#place, items, async (layout) => {
      this.#selection.clear()
      for (const task of tasks) {
        const body = task.library ? undefined : { library: { layout } }
        await this.#api.send("POST", `api/tasks/${task.task_id}/place`, body).then(
          (answer) => this.#tasks.merge(answer),
          ({ message }) => this.#rows.row(task.task_id)?.say(message),
        )
      }
    })
  }

  /** Let the reader choose an age, and select all older tasks in place of the present selection. */
  chooseOlder() {
    const { t } = { t: this.#i18n.t.bind(this.#i18n) }
    const items = AGES_DAYS.map((n) => ({ name: String(n), icon: "check", text: t("selected.days", { n }) }))
    const owner = this.#bar.hidden ? byId("menu", HTMLElement) : this.#button("older")
    this.#menu.open(owner, items, (days) => this.#selectOlder(Number(days)))
  }

  /** @param {number} days  since they ended */
  async #selectOlder(days) {
    await this.#loadRest()
    const before = this.#i18n.now() - days * DAY_MS
    const old = this.#list.tasks.filter(({ completed_at }) =>
      completed_at && Date.parse(completed_at) < before
    )
    this.#selection.all(old)
    if (old.length) return this.#button("delete").focus({ preventScroll: true })
    this.show()
    this.#bar.hidden = false
    setText(this.#count, this.#i18n.t("selected.none_old", { n: days }))
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #button(name) {
    return /** @type {HTMLElement} */ (this.#bar.querySelector(`[data-many=${name}]`))
  }

  async #takeBack() {
    const { ids } = this.#undoable
    const first = ids.map((id) => this.#rows.row(id)).find(Boolean)
    keepFocus(first?.element, () => this.#hideUndoable())
    await this.#undo.takeBackAll(ids)
  }

  /** Show the last action on many tasks, as long as it can be taken back. */
  #showUndoable() {
    const { name, ids } = this.#undoable
    const left = ids.filter((id) => ["undo", "cancelled"].includes(this.#undo.of(id)))
    const first = left.map((id) => this.#rows.row(id)).find(Boolean)
    if (!left.length) return keepFocus(first?.element, () => this.#hideUndoable())
    this.#line.hidden = false
    const key = name === "cancel" ? "undo.many_cancelled" : "undo.many_deleted"
    setText(this.#words, this.#i18n.t(key, { n: left.length }))
  }

  #hideUndoable() {
    this.#undoable = { name: "", ids: [] }
    this.#line.hidden = true
  }

  /**
   * Return the selected tasks to which this action applies now.
   * @param {string} name
   */
  #fit(name) {
    return this.#selection.ids.filter((id) => {
      const task = this.#tasks.get(id)
      return task && name in ACTIONS && applies(name, task)
    })
  }

  show() {
    const { size } = this.#selection
    this.#bar.hidden = !size
    document.documentElement.toggleAttribute("data-selecting", size > 0)
    if (size) this.#refresh(true)
  }

  /**
   * Show the buttons that apply. If tasks change by themselves while the reader aims at the bar, no button
   * comes, goes or moves: a button that applies to no task any more is disabled.
   * @param {boolean} [isChosen] the reader has changed the selection
   */
  #refresh(isChosen = false) {
    const mayMove = isChosen || !this.#bar.matches(":hover, :focus-within")
    const n = this.#selection.size
    const hasRest = this.#list.edge !== null && n >= this.#list.tasks.length
    const total = hasRest ? this.#total() : 0
    setText(this.#count, this.#i18n.t(total > n ? "selected.of_all" : "selected.count", { n, total }))
    this.#all.hidden = !hasRest
    setText(this.#all, this.#i18n.t(total > n ? "selected.all_of" : "selected.all", { total }))
    for (const name of Object.keys(ACTIONS).filter((name) => ACTIONS[name].isForMany)) {
      const button = /** @type {HTMLButtonElement} */ (this.#bar.querySelector(`[data-many=${name}]`))
      const n = this.#fit(name).length
      setText(button, this.#i18n.t(`selected.${name}`, { n }))
      button.ariaDisabled = String(!n)
      if (mayMove) button.hidden = !n
    }
    if (this.#place) {
      const { length } = this.#unplaced
      setText(this.#place, this.#i18n.t("action.place", { n: length }))
      this.#place.ariaDisabled = String(!length)
      if (mayMove) this.#place.hidden = !length
    }
    const finished = this.#selection.ids.filter((id) => Object.keys(this.#tasks.get(id)?.files ?? {}).length)
    if (mayMove) this.#zip.hidden = !finished.length || finished.length > IN_ARCHIVE
    setText(this.#zip, this.#i18n.t("selected.zip", { n: finished.length }))
    this.#zip.href = this.#api.url("api/download.zip", { ids: finished.join(",") }).href
  }
}
