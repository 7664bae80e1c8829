// @ts-check
// Whether the reader points at the list, by a pointer, a finger or the keyboard: then no row may move, come or go.

/** How long the list is held after the reader left it. */
const AFTER_MS = 3_000

/** Fires "hold" and "release". */
export class Hold extends EventTarget {
  #isOver = false
  #root
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  #isHeld = false

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

  /** End the hold at once: the reader asked for what waits, or for something new in the list. */
  end() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (!this.#isHeld) return
    this.#isHeld = false
    this.dispatchEvent(new Event("release"))
    this.#changed()
  }

  get isHeld() {
    return this.#isHeld
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
      if (this.#isHeld) return
      this.#isHeld = true
      this.dispatchEvent(new Event("hold"))
    } else if (this.#isHeld) this.#timer ??= setTimeout(() => this.#left(), AFTER_MS)
  }

  #left() {
    this.#timer = undefined
    if (this.#points) return // the focus moved without an event
    this.end()
  }
}
