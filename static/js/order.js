// @ts-check
// The order of the list, which is that of the server's pages: so the next page stands below the one before, always.

import { Sections } from "./sections.js"
import { endOf, isWaitingInQueue } from "./task.js"

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
    if (this.sections.isWaiting(section)) return compareWaiting(a, b)
    return (this.sections.isByEnd ? compareEnds(a, b) : 0) || b.number - a.number
  }

  /**
   * The task that stands last.
   * @param {readonly Task[]} tasks
   * @returns {Task | undefined}
   */
  last(tasks) {
    return tasks.reduce((last, task) => (this.compare(task, last) > 0 ? task : last), tasks[0])
  }

  /**
   * The tasks that a listing as far as `last` would hold.
   * @param {Task | undefined} last  undefined: the listing went to the very end
   * @param {Task[]} tasks
   */
  asFarAs(last, tasks) {
    return last ? tasks.filter((task) => this.compare(task, last) <= 0) : tasks
  }
}

/**
 * The order of the queue, with paused tasks behind it, the newest first.
 * @param {Task} a
 * @param {Task} b
 */
function compareWaiting(a, b) {
  const queued = Number(isWaitingInQueue(b)) - Number(isWaitingInQueue(a))
  if (queued) return queued
  if (!isWaitingInQueue(a)) return b.number - a.number
  return (b.rank ?? 0) - (a.rank ?? 0) || b.priority - a.priority || a.number - b.number
}

/**
 * The last ended first.
 * @param {Task} a
 * @param {Task} b
 */
function compareEnds(a, b) {
  const [endOfA, endOfB] = [endOf(a), endOf(b)]
  return endOfA === endOfB ? 0 : endOfA < endOfB ? 1 : -1
}
