// @ts-check
// The order of a list: the server's, by number, with what runs on top where the rule wants it there.

import { isRunning } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Order {
  #rule

  /** @param {{isQueue: boolean, pinsRunning: boolean}} rule */
  constructor(rule) {
    this.#rule = rule
  }

  /**
   * Negative if `a` stands above `b`.
   * @param {Task} a
   * @param {Task} b
   */
  compare(a, b) {
    const pinned = this.#rule.pinsRunning ? Number(isRunning(b)) - Number(isRunning(a)) : 0
    return pinned || this.comparePages(a, b)
  }

  /**
   * The order of the server's pages, in which nothing is pinned.
   * @param {Task} a
   * @param {Task} b
   */
  comparePages(a, b) {
    if (this.#rule.isQueue) return b.priority - a.priority || a.number - b.number
    return b.number - a.number
  }

  /**
   * The one that a listing comes to last.
   * @param {Task[]} tasks
   * @returns {Task | undefined}
   */
  last(tasks) {
    return tasks.reduce((last, task) => (this.comparePages(task, last) > 0 ? task : last), tasks[0])
  }

  /**
   * Those that a listing as far as `last` would hold.
   * @param {Task | undefined} last  undefined: it went to the very end
   * @param {Task[]} tasks
   */
  asFarAs(last, tasks) {
    return last ? tasks.filter((task) => this.comparePages(task, last) <= 0) : tasks
  }
}
