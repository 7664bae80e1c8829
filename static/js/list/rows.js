// @ts-check
// Keeps what is being read where it is, while rows above it come, go and move.

/** @typedef {{id: string, key: number, y: number}} Anchor  a row, its section, and where it is in the window */

/**
 * Return the first row that is wholly in sight with its place; null while the top of the list is in sight,
 * where new rows may push the others down.
 * @param {Map<string, {top: number, key: number}>} places of the rows that are there
 * @param {number} sight px from the top of the list to that of the window
 * @returns {Anchor | null}
 */
export function anchorOf(places, sight) {
  if (sight <= 0) return null
  for (const [id, { top, key }] of places) if (top >= sight) return { id, key, y: top - sight }
  return null
}

/**
 * Scroll so that the row is where it was, unless it has moved to another section. Return whether it had to
 * scroll.
 * @param {Anchor} anchor
 * @param {import("./layout.js").Geometry} geometry
 * @param {import("./shown.js").ShownList} shown
 * @param {number} sight
 */
export function restore({ id, key, y }, geometry, shown, sight) {
  const index = shown.indexOf(id)
  if (index < 0 || shown.sectionAt(index)?.key !== key) return false
  const by = geometry.top(index) - sight - y
  if (Math.abs(by) < 1) return false
  scrollBy({ top: by, behavior: "instant" })
  return true
}

// The row that last had the focus. It stays in the document with its neighbours, wherever the reader scrolls,
// so that the keyboard goes on from there; once its task is gone, the row that took its place is held
// instead.

export class FocusedRow {
  id = ""
  #index = 0

  /**
   * Return the indices of the rows that stay in the document.
   * @param {import("./shown.js").ShownList} shown
   */
  rows(shown) {
    if (!this.id) return new Set()
    const index = shown.indexOf(this.id)
    this.#index = index >= 0 ? index : Math.min(this.#index, shown.items.length - 1)
    this.id = shown.items[this.#index]?.task_id ?? ""
    const last = shown.items.length - 1
    return new Set([this.#index - 1, this.#index, this.#index + 1].filter((at) => at >= 0 && at <= last))
  }
}

// Which rows of the list are in the document: those in sight, some around them, and the focused one.

/** How far beyond the window's edges rows are in the document, in heights of the window. */
const AHEAD = 0.75
const END_IS_NEAR = 2

/** Fires "end" when the reader has scrolled nearly to the end. */
export class Rows extends EventTarget {
  #root
  #shown
  #tasks
  #layout
  #focusedRow = new FocusedRow()
  #isScheduled = false

  /**
   * @param {HTMLElement} root
   * @param {import("./shown.js").ShownList} shown
   * @param {import("../tasks/tasks.js").Tasks} tasks
   * @param {import("./layout.js").Layout} layout
   */
  constructor(root, shown, tasks, layout) {
    super()
    this.#root = root
    this.#shown = shown
    this.#tasks = tasks
    this.#layout = layout
    root.addEventListener("focusin", (event) => this.#focused(/** @type {Element} */ (event.target)))
    addEventListener("scroll", () => this.soon(), { passive: true })
    const observer = new ResizeObserver(() => this.soon())
    for (const element of [root, document.documentElement]) observer.observe(element)
  }

  /** Return the ids of the rows that are in the document. */
  get ids() {
    return [...this.#layout.rows.keys()]
  }

  /** Return the id of the row that last had the focus. */
  get current() {
    return this.#focusedRow.id
  }

  /** Let the keys lead to the first row again. */
  forgetCurrent() {
    this.#focusedRow.id = ""
  }

  /** @param {string} id */
  row(id) {
    return this.#layout.rows.get(id)
  }

  /**
   * Render the list, after a `change` of it. The row that is being read stays where it is.
   * @param {() => void} [change]
   */
  render(change) {
    const hadFocus = this.#holdsFocus()
    const anchor = change && anchorOf(this.#layout.places, this.#sight(0).top)
    change?.()
    for (const [id, row] of this.#layout.rows) {
      row.update(this.#tasks.get(id) ?? row.task, this.#tasks.has(id))
    }
    this.#place()
    if (anchor && restore(anchor, this.#layout.geometry, this.#shown, this.#sight(0).top)) this.#place()
    if (hadFocus && !this.#holdsFocus()) {
      const heir = this.row(this.#focusedRow.id)?.element ?? this.#root
      heir.focus({ preventScroll: true })
    }
    if (this.#sight(END_IS_NEAR).bottom > this.#layout.geometry.height) this.dispatchEvent(new Event("end"))
  }

  /** Make all rows anew after a change of the language. */
  renew() {
    this.#layout.renew()
    this.render()
  }

  /**
   * Note that a row was opened or closed, or that its details have another height.
   * @param {string} id
   * @param {number} more px; 0: closed
   */
  opened(id, more) {
    if ((this.#layout.opened.get(id) ?? 0) === more) return
    if (more) this.#layout.opened.set(id, more)
    else this.#layout.opened.delete(id)
    this.soon()
  }

  /**
   * Go to the row that is `by` rows below the row of `id`.
   * @param {string} id
   * @param {number} by
   */
  step(id, by) {
    const last = this.#shown.items.length - 1
    const task = this.#shown.items[Math.min(Math.max(0, this.#shown.indexOf(id) + by), last)]
    if (!task) return
    this.#focusedRow.id = task.task_id
    this.#place()
    const element = this.row(task.task_id)?.element
    element?.focus({ preventScroll: true })
    element?.scrollIntoView({ block: "nearest" })
  }

  /** Render with the next animation frame. */
  soon() {
    if (this.#isScheduled) return
    this.#isScheduled = true
    requestAnimationFrame(() => {
      this.#isScheduled = false
      this.render()
    })
  }

  #place() {
    this.#layout.measure()
    this.#layout.place(this.#sight(AHEAD), this.#focusedRow.rows(this.#shown))
  }

  #holdsFocus() {
    return this.row(this.#focusedRow.id)?.element.contains(document.activeElement) ?? false
  }

  /**
   * Return the part of the list that is in sight, in px from its top.
   * @param {number} ahead
   */
  #sight(ahead) {
    const top = -this.#root.getBoundingClientRect().top
    return { top: top - ahead * innerHeight, bottom: top + (1 + ahead) * innerHeight }
  }

  /** @param {Element} target */
  #focused(target) {
    const id = target.closest(".row")?.getAttribute("data-id") ?? ""
    if (!id || id === this.#focusedRow.id) return
    this.#focusedRow.id = id
    this.soon()
  }
}
