// @ts-check
// The section of the list in which a task stands: that of its state, or of the day on which it ended.

import { endOf, isFinal, isRunning } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

const NEW = 2 ** 53 - 1
const NOW = NEW - 1
const WAITING = NOW - 1

/**
 * The orders of the list: by the state of tasks and the day of their end, or by the day on which they were
 * added.
 */
export const SORTS = ["state", "added"]

/**
 * The sections of the list. A section is a number: higher numbers stand above. A day is the time in ms at
 * which it began, in local time.
 */
export class Sections {
  #today
  #yesterday
  /**
   * The time of each task in ms: dates are expensive to parse, and sorting needs them again and again.
   * @type {WeakMap<Task, number>}
   */
  #known = new WeakMap()

  /** Whether running and waiting tasks stand above those that have ended. */
  isByState
  /** Whether ended tasks are ordered by the time of their end. */
  isByEnd
  #fresh

  /**
   * @param {Date} now
   * @param {string} sort
   * @param {boolean} isSearched  what is found stands by the day on which it was added: so the server lists it
   * @param {Set<string>} fresh  ids of the tasks that the reader has sent just now: they stand above all others
   */
  constructor(now = new Date(), sort = SORTS[0], isSearched = false, fresh = new Set()) {
    this.#fresh = fresh
    this.isByState = sort === SORTS[0]
    this.isByEnd = this.isByState && !isSearched
    this.#today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime()
    this.#yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1).getTime()
  }

  /**
   * Return whether a new day has begun, so that the titles of sections have changed.
   */
  get isOver() {
    return new Sections().#today !== this.#today
  }

  /** @param {Task} task */
  of(task) {
    if (this.#fresh.has(task.task_id)) return NEW
    if (this.isByState && isRunning(task)) return NOW
    if (this.isByState && !isFinal(task)) return WAITING
    let section = this.#known.get(task)
    if (section === undefined) this.#known.set(task, section = this.#dayOf(task))
    return section
  }

  /**
   * Return the heading of a section: a key of the catalogue, or the month.
   * @param {number} section
   * @returns {string | Date}
   */
  title(section) {
    if (section === NEW) return "section.new"
    if (section === NOW) return "section.now"
    if (section === WAITING) return "section.waiting"
    if (section === this.#today) return "section.today"
    if (section === this.#yesterday) return "section.yesterday"
    return new Date(section)
  }

  /** @param {number} section  whether its rows stand in the order in which they were accepted */
  isInTurn(section) {
    return section >= NOW
  }

  /** @param {number} section */
  isWaiting(section) {
    return section === WAITING
  }

  /** @param {Task} task */
  #dayOf(task) {
    const ended = new Date(this.isByEnd ? endOf(task) : task.created_at)
    // An end in the future comes from a clock that is ahead: the task ended today.
    if (ended.getTime() >= this.#today) return this.#today
    if (ended.getTime() >= this.#yesterday) return this.#yesterday
    return new Date(ended.getFullYear(), ended.getMonth(), 1).getTime()
  }
}

// The order of the list, which is that of the server's pages: the next page always stands below the one
// before.

export class Order {
  sections

  /** @param {Sections} sections */
  constructor(sections = new Sections()) {
    this.sections = sections
  }

  /**
   * Compare two tasks; negative if `a` stands above `b`.
   * @param {Task} a
   * @param {Task} b
   */
  compare(a, b) {
    const section = this.sections.of(a)
    const between = this.sections.of(b) - section
    if (between) return between
    // A task that begins now stands below those that run already.
    if (this.sections.isInTurn(section)) return a.number - b.number
    if (this.sections.isWaiting(section)) return compareWaiting(a, b)
    return (this.sections.isByEnd ? compareEnds(a, b) : 0) || b.number - a.number
  }

  /**
   * Return whether task `a` is before `b` in the queue, wherever their rows stand.
   * @param {Task} a
   * @param {Task} b
   */
  isBefore(a, b) {
    return compareWaiting(a, b) < 0
  }

  /**
   * Return the task that stands last.
   * @param {readonly Task[]} tasks
   * @returns {Task | undefined}
   */
  last(tasks) {
    return tasks.reduce((last, task) => (this.compare(task, last) > 0 ? task : last), tasks[0])
  }

  /**
   * Return the tasks that a listing down to `last` would contain.
   * @param {Task | undefined} last undefined: the listing went to the very end
   * @param {Task[]} tasks
   */
  asFarAs(last, tasks) {
    return last ? tasks.filter((task) => this.compare(task, last) <= 0) : tasks
  }
}

/** @param {Task} task */
const isQueued = (task) => task.stage === "queued"

/**
 * Compare two tasks by the queue's order, with paused tasks after it, the newest first.
 * @param {Task} a
 * @param {Task} b
 */
function compareWaiting(a, b) {
  const queued = Number(isQueued(b)) - Number(isQueued(a))
  if (queued) return queued
  if (!isQueued(a)) return b.number - a.number
  return (b.rank ?? 0) - (a.rank ?? 0) || b.priority - a.priority || a.number - b.number
}

/**
 * Compare two tasks by their ends, the last one first.
 * @param {Task} a
 * @param {Task} b
 */
function compareEnds(a, b) {
  const [endOfA, endOfB] = [endOf(a), endOf(b)]
  return endOfA === endOfB ? 0 : endOfA < endOfB ? 1 : -1
}
