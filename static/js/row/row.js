// @ts-check
// The row of one task. The stylesheet decides which parts are visible in which stage (`data-stage`).

import { ACTIONS, iconOf, primaryOf, textOf } from "./actions.js"
import {
  Focus,
  fromTemplate,
  isAway,
  isSeen,
  setAttribute,
  setFacts,
  setText,
  unbroken,
} from "../base/dom.js"
import { drawnOf, entriesBefore, factsOf, minutesUntil } from "./facts.js"
import { isPlayable, kindsOf, saveAllLink, saveLink } from "./files.js"
import { isAsking, isRecorded, letterOf, looks, titleOf, webLink } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("../base/i18n.js").I18n} I18n */

/**
 * What a row says after its task was deleted or cancelled, and how to take this back; "undo": deleted, as
 * long as this can be taken back.
 * @typedef {"" | "deleted" | "undo" | "cancelled"} Leaving
 */

/** A control that appears within this time after a press is one that the reader expects. */
const FOLLOWS_MS = 2_000

export class Row {
  element
  /** @type {Task} */
  task
  #i18n
  #parts
  #focus
  #around
  #primary
  #isThere = true
  /**
   * The length of the bar in percent, and the attempt to which it belongs.
   * @type {{percent: number | undefined, attempt: number}}
   */
  #drawn = { percent: undefined, attempt: -1 }

  /**
   * @param {Task} task
   * @param {I18n} i18n
   * @param {object} around  what the row has to know of the page
   * @param {{of: (id: string) => Leaving}} around.undo
   * @param {{has: (id: string) => boolean}} around.selection
   * @param {{get: (id: string) => Task | undefined, unfinished: Task[]}} around.tasks
   * @param {{isNested: (task: Task) => boolean, hasOpen: (id: string) => boolean, queuePlaceOf: (task: Task) => number, isPaused: boolean, origins: {show?: (row: HTMLElement, task: Task) => void}}} around.shown
   */
  constructor(task, i18n, around) {
    const { element, parts } = fromTemplate("row", i18n)
    this.element = element
    this.task = task
    this.#parts = parts
    this.#i18n = i18n
    this.#around = around
    this.#primary = new Primary(parts.primary, i18n)
    this.#focus = new Focus(element)
    element.dataset.id = task.task_id
    parts.title.id = `title-${task.task_id}`
    for (const named of [element, parts.bar]) named.setAttribute("aria-labelledby", parts.title.id)
    parts.thumbnail.addEventListener("error", () => (parts.thumbnail.hidden = true))
    this.#show()
    this.select(around.selection.has(task.task_id))
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

  /** Return whether the task was just deleted or cancelled, so that the only action is to take this back. */
  get isLeaving() {
    return this.element.dataset.leaving !== ""
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
    this.element.toggleAttribute("data-opened", details !== null)
    this.#parts.open.ariaExpanded = String(details !== null)
  }

  select(/** @type {boolean} */ isSelected) {
    this.element.toggleAttribute("data-selected", isSelected)
    this.#parts.pick.ariaPressed = String(isSelected)
  }

  /** Save the file, or all files of the list, as if the link had been clicked. */
  save() {
    const [kind] = kindsOf(this.task)
    const link = kind ? saveLink(this.task, kind, this.#i18n) : saveAllLink(this.task, this.#i18n)
    link.click()
  }

  busy(/** @type {boolean} */ isBusy) {
    this.element.ariaBusy = String(isBusy)
  }

  /**
   * Tell screen readers the position of this row in its section, or among the entries of its list.
   * @param {number} position from 1
   * @param {number} count of all; -1: unknown
   */
  stand(position, count) {
    setAttribute(this.element, "aria-posinset", String(position))
    setAttribute(this.element, "aria-setsize", String(count))
    this.element.toggleAttribute("data-nested", this.#around.shown.isNested(this.task))
    // The place in the queue and the number of folded rows change while the task itself does not.
    if (this.task.stage === "queued" || this.task.subscription_id) this.#showFacts()
  }

  #showFacts() {
    const { task } = this
    const { tasks, shown } = this.#around
    const list = task.playlist_id && !shown.isNested(task) ? tasks.get(task.playlist_id) : undefined
    const { unfinished } = tasks
    const stands = shown.queuePlaceOf(task)
    const place = stands && stands + entriesBefore(task, unfinished)
    const minutes = place && !shown.isPaused ? minutesUntil(place, unfinished) : 0
    const around = { isAway: isAway(), list, place, minutes }
    setFacts(this.#parts.facts, factsOf(task, this.#i18n, around).map(unbroken))
    if (task.subscription_id) shown.origins.show?.(this.element, task)
  }

  /**
   * Show why a request was refused, until the next revision of the task.
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
    const { undo } = this.#around
    const leaving = this.#isThere ? undo.of(task.task_id) : "deleted"
    element.dataset.stage = task.stage
    element.dataset.leaving = leaving
    element.toggleAttribute("data-recorded", isRecorded(task))
    element.toggleAttribute("data-asking", isAsking(task))
    element.toggleAttribute("data-list", Boolean(task.entries))
    setText(this.#parts.title, titleOf(task))
    setAttribute(this.#parts.open, "title", titleOf(task)) // the title may be cut off in the row
    this.#showFacts()
    setText(
      this.#parts.gone,
      leaving && this.#i18n.t(leaving === "cancelled" ? "undo.cancelled" : "undo.deleted"),
    )
    this.#parts.undo.hidden = leaving !== "undo" && leaving !== "cancelled"
    this.#showPicture(task)
    this.#showProgress(task)
    // On a phone the line of the words is that of the subscription's name, where there is one.
    element.toggleAttribute("data-words", this.#primary.show(task) && !task.subscription_id)
  }

  /**
   * Show the picture, which is requested once the server has one and the row is nearly in sight. Until then
   * the first letter of the site or the title is in its place. If there is something to play, the picture is
   * the button for it.
   * @param {Task} task
   */
  #showPicture(task) {
    const { letter, play, thumbnail } = this.#parts
    const count = task.entries?.total
    setText(letter, count ? this.#i18n.format.count(count) : letterOf(task))
    play.hidden = !isPlayable(task)
    const looked = looks.get(task.url)?.thumbnail ?? ""
    const small = webLink(task.thumbnail)
    if (devicePixelRatio <= 2) small?.searchParams.set("w", "192")
    const link = small?.href ?? (looked.startsWith("data:image/") ? looked : "")
    if (link === (thumbnail.getAttribute("src") ?? "")) return
    thumbnail.hidden = !link
    if (link) thumbnail.src = link
    else thumbnail.removeAttribute("src")
  }

  /**
   * Show the progress of the task as a line along the lower edge.
   * @param {Task} task
   */
  #showProgress(task) {
    const { bar, fill } = this.#parts
    const before = task.attempt === this.#drawn.attempt ? this.#drawn.percent : undefined
    const percent = drawnOf(task, before)
    this.#drawn = { percent: percent ?? before, attempt: task.attempt }
    bar.hidden = percent === undefined
    bar.toggleAttribute("data-moving", percent === null)
    if (percent === null) bar.removeAttribute("aria-valuenow")
    else if (percent !== undefined) setAttribute(bar, "aria-valuenow", String(Math.floor(percent)))
    const transform = percent ? `scaleX(${percent / 100})` : ""
    if (fill.style.transform !== transform) fill.style.transform = transform
  }
}

/** The first thing to do with a task, as a button or a link of its row. */
class Primary {
  #slot
  #i18n
  #shown = ""
  #pressedAt = -FOLLOWS_MS

  /**
   * @param {HTMLElement} slot
   * @param {I18n} i18n
   */
  constructor(slot, i18n) {
    this.#slot = slot
    this.#i18n = i18n
    slot.addEventListener("click", () => (this.#pressedAt = performance.now()))
  }

  /**
   * Show the control of an action; return whether it needs words beside its icon.
   * @param {Task} task
   */
  show(task) {
    const name = primaryOf(task)
    const { hasWords = false, isCalm = false } = ACTIONS[name] ?? {}
    const [kind] = name === "save" ? kindsOf(task) : []
    const words = name && textOf(name, task, this.#i18n)
    const shown = [words, name, task.files[kind] ?? "", kind].join(" ")
    if (shown === this.#shown) return hasWords // nothing has changed: the control keeps the focus
    this.#shown = shown
    const control = name && this.#control(task, name, words, kind)
    const isExpected = performance.now() - this.#pressedAt < FOLLOWS_MS
    // Somebody may be about to press the control that was here: see rowactions.js.
    if (control && !isExpected && this.#slot.matches(":hover")) {
      control.dataset.born = String(performance.now())
    }
    if (control) {
      control.toggleAttribute("data-calm", isCalm)
      control.tabIndex = -1 // the whole row is one stop of Tab
    }
    this.#slot.replaceChildren(...(control ? [control] : []))
    return hasWords
  }

  /**
   * @param {Task} task
   * @param {string} name
   * @param {string} words
   * @param {string | undefined} kind  of the file that is saved
   */
  #control(task, name, words, kind) {
    if (name === "save" && kind) return saveLink(task, kind, this.#i18n)
    if (name === "save_entries") return saveAllLink(task, this.#i18n)
    const { element, parts } = fromTemplate("action", this.#i18n)
    element.dataset.action = name
    parts.icon.setAttribute("href", `#i-${iconOf(name)}`)
    setText(parts.words, words)
    return element
  }
}
