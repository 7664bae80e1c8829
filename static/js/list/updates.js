// @ts-check
// Whether the reader points at the list, by a pointer, a finger or the keyboard: then no row may move, come
// or go.

import { byId, keepFocus, on, setText } from "../base/dom.js"

/** How long the list is held after the reader left it. */
const AFTER_MS = 3_000

/** Fires "begin" and "end". */
export class Pointing extends EventTarget {
  #isOver = false
  #root
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #isOn = false

  /** @param {HTMLElement} root */
  constructor(root) {
    super()
    this.#root = root
    for (const type of ["pointerenter", "pointermove", "pointerdown"]) {
      root.addEventListener(type, () => this.#over(true), { passive: true })
    }
    for (const type of ["pointerleave", "pointercancel"]) root.addEventListener(type, () => this.#over(false))
    root.addEventListener("focusin", () => this.#changed())
    root.addEventListener("focusout", () => this.#changed())
    document.documentElement.addEventListener("pointerleave", () => this.#over(false))
  }

  /**
   * End the hold at once, because the reader has asked for the waiting changes or for something new in the
   * list.
   */
  end() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#isOn) return
    this.#isOn = false
    this.dispatchEvent(new Event("end"))
    this.#changed()
  }

  get isOn() {
    return this.#isOn
  }

  get #points() {
    return this.#isOver || this.#root.contains(document.activeElement)
  }

  /** @param {boolean} isOver */
  #over(isOver) {
    if (isOver === this.#isOver) return
    this.#isOver = isOver
    this.#changed()
  }

  #changed() {
    if (this.#points) {
      clearTimeout(this.#timer)
      this.#timer = undefined
      if (this.#isOn) return
      this.#isOn = true
      this.dispatchEvent(new Event("begin"))
    } else if (this.#isOn) this.#timer ??= setTimeout(() => this.#left(), AFTER_MS)
  }

  #left() {
    this.#timer = undefined
    if (this.#points) return // the focus may have moved without an event
    this.end()
  }
}

// When changes of the list are rendered: at once or, while the reader points at the list, afterwards or on
// demand.

/** For this long, tasks that only the server can judge are collected for one question. */
const DOUBT_MS = 300
/** How often to check whether a new day has begun. */
const DAY_MS = 60_000

/** Fires "change" with each change of a task in `detail`, after the list has taken it in. */
export class Updates extends EventTarget {
  #due = byId("due", HTMLButtonElement)
  #root
  #shown
  #rows
  #pointing
  #header
  #list
  #questions
  #i18n

  /**
   * @param {object} parts
   * @param {HTMLElement} parts.root
   * @param {import("./shown.js").ShownList} parts.shown
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("./updates.js").Pointing} parts.pointing
   * @param {import("../header/header.js").Header} parts.header
   * @param {import("./list.js").TaskList} parts.list
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {import("../tasks/connection.js").Questions} parts.questions
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor({ root, shown, rows, pointing, header, list, tasks, questions, i18n }) {
    super()
    this.#root = root
    this.#shown = shown
    this.#rows = rows
    this.#pointing = pointing
    this.#header = header
    this.#list = list
    this.#questions = questions
    this.#i18n = i18n
    on(tasks, "change", (changes) => this.#changed(changes))
    on(tasks, "removed", (ids) => this.#removed(ids))
    on(questions, "answered", ({ question }) => this.#answered(question))
    on(pointing, "begin", () => shown.freeze())
    on(pointing, "end", () => this.#thaw())
    this.#due.addEventListener("click", () => pointing.end())
    setInterval(() => list.order.sections.isOver && this.#turnPage(), DAY_MS)
  }

  /** @param {import("../tasks/tasks.js").Change[]} changes */
  #changed(changes) {
    for (const change of changes) {
      this.#list.consider(change.task)
      this.#shown.changed(change.task.task_id, change.task)
      this.dispatchEvent(new CustomEvent("change", { detail: change }))
    }
    this.show()
  }

  /** @param {string[]} ids */
  #removed(ids) {
    for (const id of ids) {
      this.#list.drop(id)
      this.#shown.changed(id)
    }
    this.show()
  }

  show() {
    this.#rows.render(() => void this.#shown.refresh())
    this.#header.show()
    this.#tell()
    if (this.#list.doubts.length) setTimeout(() => this.#questions.add("judge"), DOUBT_MS)
  }

  /** @param {string} question */
  #answered(question) {
    if (question === "first") return this.begin()
    this.#rows.render(() => this.#shown.extend())
    this.show()
  }

  /** Show a newly loaded list: changes of the previous one are not held back any more. */
  begin() {
    this.#root.ariaBusy = "false"
    this.#shown.thaw()
    if (this.#pointing.isOn) this.#shown.freeze()
    this.show()
    this.#root.toggleAttribute("data-listed", true)
  }

  #thaw() {
    this.#rows.render(() => this.#shown.thaw())
    this.#tell()
  }

  #turnPage() {
    this.#list.reset(this.#list.rule, [...this.#list.tasks])
    this.show()
  }

  #tell() {
    const { due, isAllNew, items } = this.#shown
    this.#due.hidden = due === 0
    if (due) setText(this.#due, this.#i18n.t(isAllNew ? "list.due" : "list.due_changes", { n: due }))
    keepFocus(this.#root, () => this.#root.toggleAttribute("data-empty", items.length === 0))
  }
}
