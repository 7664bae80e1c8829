// @ts-check
// The row that last had the focus. It stays in the document with its neighbours, wherever the reader scrolls, so
// that the keyboard goes on from there; once its task is gone, the row that took its place is held instead.

export class Held {
  id = ""
  #index = 0

  /**
   * Indices of the rows that stay.
   * @param {import("./list.js").TaskList} list
   */
  rows(list) {
    if (!this.id) return new Set()
    const index = list.indexOf(this.id)
    this.#index = index >= 0 ? index : Math.min(this.#index, list.tasks.length - 1)
    this.id = list.tasks[this.#index]?.task_id ?? ""
    return new Set([this.#index - 1, this.#index, this.#index + 1])
  }
}
