// @ts-check
// Keeps what is being read where it is, while rows above it come, go and grow.

export class Anchor {
  #root
  /** Rows in sight and below, with where they were. @type {[row: HTMLElement, top: number][]} */
  #held = []

  /** @param {HTMLElement} root  the list */
  constructor(root) {
    this.#root = root
  }

  /** Note what is in sight. While the top of the list is, there is nothing to hold: what is new pushes it down. */
  hold() {
    this.#held = []
    if (this.#root.getBoundingClientRect().top >= 0) return
    /** @type {NodeListOf<HTMLElement>} */
    const rows = this.#root.querySelectorAll(":scope > .card")
    for (const row of rows) {
      const { top, bottom } = row.getBoundingClientRect()
      if (bottom > 0) this.#held.push([row, top])
    }
  }

  /**
   * Scroll so that the first row that is still in its place is where it was.
   * @param {Set<string>} moved  ids of rows that went somewhere else: they are not followed
   */
  restore(moved) {
    const found = this.#held.find(([row]) => row.isConnected && !moved.has(row.dataset.id ?? ""))
    if (!found) return
    const [row, top] = found
    const by = row.getBoundingClientRect().top - top
    if (Math.abs(by) >= 1) scrollBy({ top: by, behavior: "instant" })
  }
}
