// @ts-check
// Which rows of the list are in the document: those in sight, some around them, and the one with the focus.

import { anchorOf, restore } from "./anchor.js"
import { Held } from "./held.js"

/** How far beyond the window's edges rows are in the document, in heights of the window. */
const AHEAD = 0.75
const END_IS_NEAR = 2

/** Fires "end" when little is left to scroll. */
export class Rows extends EventTarget {
  #root
  #view
  #tasks
  #plane
  #held = new Held()
  #isScheduled = false

  /**
   * @param {HTMLElement} root
   * @param {import("./view.js").View} view
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./plane.js").Plane} plane
   */
  constructor(root, view, tasks, plane) {
    super()
    this.#root = root
    this.#view = view
    this.#tasks = tasks
    this.#plane = plane
    root.addEventListener("focusin", (event) => this.#focused(/** @type {Element} */ (event.target)))
    addEventListener("scroll", () => this.soon(), { passive: true })
    const observer = new ResizeObserver(() => this.soon())
    for (const element of [root, document.documentElement]) observer.observe(element)
  }

  /** Ids of the rows that are in the document. */
  get ids() {
    return [...this.#plane.rows.keys()]
  }

  /** The row that last had the focus. */
  get current() {
    return this.#held.id
  }

  /** @param {string} id */
  row(id) {
    return this.#plane.rows.get(id)
  }

  /**
   * Render the view, after a `change` of it. The row that is being read stays where it is.
   * @param {() => void} [change]
   */
  render(change) {
    const hadFocus = this.#holdsFocus()
    const anchor = change && anchorOf(this.#plane.places, this.#sight(0).top)
    change?.()
    for (const [id, row] of this.#plane.rows) row.update(this.#tasks.get(id) ?? row.task, this.#tasks.has(id))
    this.#place()
    if (anchor && restore(anchor, this.#plane.geometry, this.#view, this.#sight(0).top)) this.#place()
    if (hadFocus && !this.#holdsFocus()) {
      const heir = this.row(this.#held.id)?.element ?? this.#root
      heir.focus({ preventScroll: true })
    }
    if (this.#sight(END_IS_NEAR).bottom > this.#plane.geometry.height) this.dispatchEvent(new Event("end"))
  }

  /** Make all rows anew: the language has changed. */
  renew() {
    this.#plane.renew()
    this.render()
  }

  /**
   * A row was opened, closed, or its details have another height.
   * @param {string} id
   * @param {number} more  px; 0: closed
   */
  opened(id, more) {
    if ((this.#plane.opened.get(id) ?? 0) === more) return
    if (more) this.#plane.opened.set(id, more)
    else this.#plane.opened.delete(id)
    this.soon()
  }

  /**
   * Go to the row that stands `by` rows from that of `id`.
   * @param {string} id
   * @param {number} by
   */
  step(id, by) {
    const last = this.#view.items.length - 1
    const task = this.#view.items[Math.min(Math.max(0, this.#view.indexOf(id) + by), last)]
    if (!task) return
    this.#held.id = task.task_id
    this.#place()
    const element = this.row(task.task_id)?.element
    element?.focus({ preventScroll: true })
    element?.scrollIntoView({ block: "nearest" })
  }

  /** Render with the next frame. */
  soon() {
    if (this.#isScheduled) return
    this.#isScheduled = true
    requestAnimationFrame(() => {
      this.#isScheduled = false
      this.render()
    })
  }

  #place() {
    this.#plane.measure()
    this.#plane.place(this.#sight(AHEAD), this.#held.rows(this.#view))
  }

  #holdsFocus() {
    return this.row(this.#held.id)?.element.contains(document.activeElement) ?? false
  }

  /**
   * What can be seen, in px from the top of the list.
   * @param {number} ahead
   */
  #sight(ahead) {
    const top = -this.#root.getBoundingClientRect().top
    return { top: top - ahead * innerHeight, bottom: top + (1 + ahead) * innerHeight }
  }

  /** @param {Element} target */
  #focused(target) {
    const id = target.closest(".row")?.getAttribute("data-id") ?? ""
    if (!id || id === this.#held.id) return
    this.#held.id = id
    this.soon()
  }
}
