// @ts-check
// The order of the list: sections, and within each the server's own.

import { Sections } from "./sections.js"
import { isWaitingInQueue } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Order {
  sections

  /** @param {Sections} sections */
  constructor(sections = new Sections()) {
    this.sections = sections
  }

  /**
   * Negative if `a` stands above `b`.
   * @param {Task} a
   * @param {Task} b
   */
  compare(a, b) {
    const section = this.sections.of(a)
    const between = this.sections.of(b) - section
    if (between) return between
    if (this.sections.isNow(section)) return a.number - b.number // what begins now stands below
    return this.sections.isWaiting(section) ? compareWaiting(a, b) : b.number - a.number
  }

  /**
   * The order of the server's pages: newest first.
   * @param {Task} a
   * @param {Task} b
   */
  comparePages(a, b) {
    return b.number - a.number
  }

  /**
   * The task that a listing of the server comes to last.
   * @param {readonly Task[]} tasks
   * @returns {Task | undefined}
   */
  last(tasks) {
    return tasks.reduce((last, task) => (this.comparePages(task, last) > 0 ? task : last), tasks[0])
  }

  /**
   * The tasks that a listing as far as `last` would hold.
   * @param {Task | undefined} last  undefined: the listing went to the very end
   * @param {Task[]} tasks
   */
  asFarAs(last, tasks) {
    return last ? tasks.filter((task) => this.comparePages(task, last) <= 0) : tasks
  }
}

/**
 * The order of the queue, with paused tasks behind it.
 * @param {Task} a
 * @param {Task} b
 */
function compareWaiting(a, b) {
  const queued = Number(isWaitingInQueue(b)) - Number(isWaitingInQueue(a))
  return queued || (b.rank ?? 0) - (a.rank ?? 0) || b.priority - a.priority || a.number - b.number
}
