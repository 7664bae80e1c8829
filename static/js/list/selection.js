// @ts-check
// The selected tasks, wherever they stand in the list.

/** Fires "change". */
export class Selection extends EventTarget {
  /** @type {Set<string>} */
  #ids = new Set()
  /** The task that was selected last, where a selection with shift begins. */
  #last = ""

  get size() {
    return this.#ids.size
  }

  get ids() {
    return [...this.#ids]
  }

  /** @param {string} id */
  has(id) {
    return this.#ids.has(id)
  }

  /** @param {string} id */
  toggle(id) {
    if (!this.#ids.delete(id)) this.#ids.add(id)
    this.#last = id
    this.#changed()
  }

  /**
   * Select all tasks from the one that was selected last to this one.
   * @param {string} id
   * @param {import("./shown.js").ShownList} shown
   */
  extend(id, shown) {
    const [from, to] = [shown.indexOf(this.#last), shown.indexOf(id)]
    if (from < 0 || to < 0) return this.toggle(id)
    const [low, high] = [Math.min(from, to), Math.max(from, to)]
    for (const task of shown.items.slice(low, high + 1)) this.#ids.add(task.task_id)
    this.#last = id
    this.#changed()
  }

  /** @param {readonly import("../tasks/task.js").Task[]} tasks */
  all(tasks) {
    this.#ids = new Set(tasks.map(({ task_id }) => task_id))
    this.#changed()
  }

  clear() {
    if (!this.#ids.size) return
    this.#ids.clear()
    this.#changed()
  }

  /** @param {string} id  whose task is gone */
  drop(id) {
    if (this.#ids.delete(id)) this.#changed()
  }

  #changed() {
    this.dispatchEvent(new Event("change"))
  }
}
