// @ts-check
// When changes of the list are rendered: at once, or, while the reader points at the list, after that or on demand.

import { byId, on, setText } from "./dom.js"

/** Doubtful tasks, which only the server can judge, are gathered into one question for this long. */
const DOUBT_MS = 300
/** How often to check whether a new day has begun. */
const DAY_MS = 60_000

/** Fires "change" with each change of a task in `detail`, once the list knows of it. */
export class Display extends EventTarget {
  #due = byId("due", HTMLButtonElement)
  #root
  #view
  #rows
  #hold
  #summary
  #list
  #agenda
  #i18n

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.root
   * @param {import("./view.js").View} parts.view
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("./hold.js").Hold} parts.hold
   * @param {import("./summary.js").Summary} parts.summary
   * @param {import("./list.js").TaskList} parts.list
   * @param {import("./tasks.js").Tasks} parts.tasks
   * @param {import("./agenda.js").Agenda} parts.agenda
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor({ root, view, rows, hold, summary, list, tasks, agenda, i18n }) {
    super()
    this.#root = root
    this.#view = view
    this.#rows = rows
    this.#hold = hold
    this.#summary = summary
    this.#list = list
    this.#agenda = agenda
    this.#i18n = i18n
    on(tasks, "change", (changes) => this.#changed(changes))
    on(tasks, "removed", (ids) => this.#removed(ids))
    on(agenda, "answered", ({ question }) => this.#answered(question))
    on(hold, "hold", () => view.hold())
    on(hold, "release", () => this.#release())
    this.#due.addEventListener("click", () => hold.end())
    setInterval(() => list.order.sections.isOver && this.#turnPage(), DAY_MS)
  }

  /** @param {import("./tasks.js").Change[]} changes */
  #changed(changes) {
    for (const change of changes) {
      this.#list.consider(change.task)
      this.#view.changed(change.task.task_id)
      this.dispatchEvent(new CustomEvent("change", { detail: change }))
    }
    this.show()
  }

  /** @param {string[]} ids */
  #removed(ids) {
    for (const id of ids) {
      this.#list.drop(id)
      this.#view.changed(id)
    }
    this.show()
  }

  show() {
    this.#rows.render(() => void this.#view.refresh())
    this.#summary.show(this.#list)
    this.#tell()
    if (this.#list.doubts.length) setTimeout(() => this.#agenda.add("judge"), DOUBT_MS)
  }

  /** @param {string} question */
  #answered(question) {
    if (question === "first") return this.begin()
    this.#rows.render(() => this.#view.extend())
    this.show()
  }

  /** Another list was loaded: rows of the one before are not held. */
  begin() {
    this.#root.ariaBusy = "false"
    this.#view.release()
    if (this.#hold.isHeld) this.#view.hold()
    this.show()
    this.#root.toggleAttribute("data-listed", true)
  }

  #release() {
    this.#rows.render(() => this.#view.release())
    this.#tell()
  }

  #turnPage() {
    this.#list.reset(this.#list.rule, [...this.#list.tasks])
    this.show()
  }

  #tell() {
    const { due, items } = this.#view
    this.#due.hidden = due === 0
    if (due) setText(this.#due, this.#i18n.t("list.due", { n: due }))
    this.#root.toggleAttribute("data-empty", items.length === 0)
  }
}
