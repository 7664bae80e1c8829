// @ts-check
// One task in the list. What is visible in which stage is the stylesheet's business (`data-stage`).

import { fromTemplate, isAway, isSeen, setAttribute, setText } from "./dom.js"
import { factsOf } from "./facts.js"
import { isPlayable } from "./files.js"
import { Focus } from "./focus.js"
import { PartingLine } from "./parting.js"
import { Picture } from "./picture.js"
import { Primary } from "./primary.js"
import { Progress } from "./progress.js"
import { hostOf, titleOf } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Row {
  element
  /** @type {Task} */
  task
  #i18n
  #parts
  #picture
  #focus
  #undo
  #primary
  #progress
  #parting
  #isThere = true

  /**
   * @param {Task} task
   * @param {import("./i18n.js").I18n} i18n
   * @param {{undo: {of: (id: string) => import("./parting.js").Parting}, selection: {has: (id: string) => boolean}}} states
   */
  constructor(task, i18n, { undo, selection }) {
    const { element, parts } = fromTemplate("row", i18n)
    this.element = element
    this.task = task
    this.#parts = parts
    this.#i18n = i18n
    this.#undo = undo
    this.#picture = new Picture(parts)
    this.#progress = new Progress(parts)
    this.#parting = new PartingLine(parts, i18n)
    this.#primary = new Primary(parts.primary, i18n)
    this.#focus = new Focus(element)
    element.dataset.id = task.task_id
    parts.title.id = `title-${task.task_id}`
    for (const named of [element, parts.bar]) named.setAttribute("aria-labelledby", parts.title.id)
    this.#show()
    this.select(selection.has(task.task_id))
  }

  get id() {
    return this.task.task_id
  }

  /**
   * @param {Task} task
   * @param {boolean} isThere  false: it was removed, and its row only waits to go
   */
  update(task, isThere) {
    if (task === this.task && isThere === this.#isThere) return
    if (task.revision !== this.task.revision) this.say("")
    this.task = task
    this.refresh(isThere)
  }

  refresh(/** @type {boolean} */ isThere) {
    this.#isThere = isThere
    this.#focus.keep(() => this.#show())
  }

  /** Whether the task was deleted or cancelled, so that all that can be done is to take that back. */
  get isParting() {
    return this.element.dataset.parting !== ""
  }

  get hasFocus() {
    return this.element.contains(document.activeElement)
  }

  /** @returns {HTMLElement} */
  get moreButton() {
    return this.#parts.more
  }

  /** @param {HTMLElement | null} details  what is shown below the line; null: nothing more */
  extend(details) {
    this.element.querySelector(".details")?.remove()
    if (details) this.element.append(details)
    this.#parts.open.ariaExpanded = String(details !== null)
  }

  select(/** @type {boolean} */ isSelected) {
    this.element.toggleAttribute("data-selected", isSelected)
    this.#parts.pick.ariaPressed = String(isSelected)
  }

  /** Save the file as if its link had been clicked. */
  save() {
    /** @type {HTMLElement | null} */
    ;(this.#parts.primary.querySelector("a"))?.click()
  }

  busy(/** @type {boolean} */ isBusy) {
    this.element.ariaBusy = String(isBusy)
  }

  /**
   * Tell screen readers which row of its section this is.
   * @param {number} position  from 1
   * @param {number} count  of all rows; -1: unknown
   */
  stand(position, count) {
    setAttribute(this.element, "aria-posinset", String(position))
    setAttribute(this.element, "aria-setsize", String(count))
  }

  /**
   * Say why a request was refused, until the next revision of the task.
   * @param {string} text
   */
  say(text) {
    setText(this.#parts.notice, text)
    this.element.toggleAttribute("data-notice", Boolean(text))
  }

  /** @param {string} part  focus this control of the row, or the row where it has none */
  focus(part) {
    /** @type {HTMLElement | null} */
    const control = this.element.querySelector(`[data-action="${part}"]`)
    ;(control && isSeen(control) ? control : this.element).focus({ preventScroll: true })
  }

  #show() {
    const { task, element } = this
    const parting = this.#isThere ? this.#undo.of(task.task_id) : "deleted"
    element.dataset.stage = task.stage
    element.dataset.parting = parting
    element.toggleAttribute("data-live", Boolean(task.video_info.live))
    setText(this.#parts.title, titleOf(task))
    setText(this.#parts.facts, factsOf(task, this.#i18n, isAway()).join(" · "))
    this.#parting.show(parting)
    this.#picture.show(task, isPlayable(task), hostOf(task))
    this.#progress.show(task)
    this.#primary.show(task)
  }
}
