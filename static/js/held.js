// @ts-check
// The row that last had the focus. It stays in the document with its neighbours, wherever the reader scrolls, so
// that the keyboard goes on from there; once its task is gone, the row that took its place is held instead.

export class Held {
  id = ""
  #index = 0

  /**
   * Indices of the rows that stay.
   * @param {import("./view.js").View} view
   */
  rows(view) {
    if (!this.id) return new Set()
    const index = view.indexOf(this.id)
    this.#index = index >= 0 ? index : Math.min(this.#index, view.items.length - 1)
    this.id = view.items[this.#index]?.task_id ?? ""
    const last = view.items.length - 1
    return new Set([this.#index - 1, this.#index, this.#index + 1].filter((at) => at >= 0 && at <= last))
  }
}
