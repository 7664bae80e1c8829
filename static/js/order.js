// @ts-check
// The order of the list. The server's own order (a task's number) is not in the payload: the time of
// creation stands for it, and within one second the order in which tasks became known here.

import { isRunning } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Order {
  #filter
  /** @type {Map<string, number>} higher is newer */
  #rank = new Map()
  #newest = 0
  #oldest = 0

  /** @param {import("./filter.js").Filter} filter */
  constructor(filter) {
    this.#filter = filter
  }

  /**
   * The feed brought a task: what was not known is the newest of its second.
   * @param {string} id
   */
  arrived(id) {
    if (!this.#rank.has(id)) this.#rank.set(id, ++this.#newest)
  }

  /**
   * A page of the list came, in the list's order.
   * @param {Task[]} page
   */
  listed(page) {
    for (const task of this.#filter.isQueue ? page.toReversed() : page) {
      if (!this.#rank.has(task.task_id)) this.#rank.set(task.task_id, --this.#oldest)
    }
  }

  /**
   * Negative if `a` stands above `b`.
   * @param {Task} a
   * @param {Task} b
   */
  compare(a, b) {
    const pinned = this.#filter.pinsRunning ? Number(isRunning(b)) - Number(isRunning(a)) : 0
    return pinned || this.comparePages(a, b)
  }

  /**
   * The order of the server's pages, in which nothing is pinned.
   * @param {Task} a
   * @param {Task} b
   */
  comparePages(a, b) {
    if (this.#filter.isQueue) return b.priority - a.priority || -this.#newestFirst(a, b)
    return this.#newestFirst(a, b)
  }

  /**
   * @param {Task} a
   * @param {Task} b
   */
  #newestFirst(a, b) {
    if (a.created_at !== b.created_at) return a.created_at < b.created_at ? 1 : -1
    return (this.#rank.get(b.task_id) ?? 0) - (this.#rank.get(a.task_id) ?? 0)
  }
}
