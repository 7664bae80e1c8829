// @ts-check
// A sorted sequence of items, which are also found by their ids.

import { Rule } from "./filter.js"
import { Order, Sections } from "./order.js"
import { isFinal } from "../tasks/task.js"

/**
 * @template {{task_id: string}} T
 */
export class Sequence {
  #compare
  /** @type {T[]} */
  #items = []
  /** Each item as it was when it got its place, by its id. @type {Map<string, T>} */
  #byId = new Map()

  /** @param {(a: T, b: T) => number} compare  0 only for the same item */
  constructor(compare) {
    this.#compare = compare
  }

  /** @type {readonly T[]} */
  get items() {
    return this.#items
  }

  /** @param {string} id */
  get(id) {
    return this.#byId.get(id)
  }

  /** @param {string} id */
  indexOf(id) {
    const item = this.#byId.get(id)
    return item ? this.#placeOf(item) : -1
  }

  /**
   * Insert an item, or replace the one with its id; return whether the item has moved.
   * @param {T} item
   */
  put(item) {
    const before = this.#byId.get(item.task_id)
    this.#byId.set(item.task_id, item)
    if (!before) {
      this.#items.splice(this.#placeOf(item), 0, item)
      return false
    }
    const place = this.#placeOf(before)
    if (this.#compare(before, item) === 0) {
      this.#items[place] = item
      return false
    }
    this.#items.splice(place, 1)
    this.#items.splice(this.#placeOf(item), 0, item)
    return true
  }

  /** @param {string} id */
  remove(id) {
    const item = this.#byId.get(id)
    if (!item) return
    this.#items.splice(this.#placeOf(item), 1)
    this.#byId.delete(id)
  }

  /**
   * Return the index of `item`, or the index that it would have.
   * @param {T} item
   */
  #placeOf(item) {
    let [low, high] = [0, this.#items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#compare(this.#items[middle], item) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}

// The tasks that match the reader's choice, in their order, as far down as pages were loaded: nothing below
// the last loaded task is listed, so the next page moves no row.

/** @typedef {import("../tasks/task.js").Task} Task */

export class TaskList {
  /** Ids of the tasks that the reader has sent last. @type {Set<string>} */
  #fresh = new Set()
  /** Links that are being sent. @type {Set<string>} */
  #sent = new Set()
  rule = new Rule()
  order = new Order(new Sections(new Date(), this.rule.sort, false, this.#fresh))
  /** The last task that was loaded, as it was then; null if there are no more pages. @type {Task | null} */
  edge = null
  /** @type {Sequence<Task>} */
  #shown = this.#inOrder()
  /** The ids of tasks of which only the server can say whether they match. @type {Set<string>} */
  #doubts = new Set()

  get tasks() {
    return this.#shown.items
  }

  /** @param {string} id */
  get(id) {
    return this.#shown.get(id)
  }

  /** @param {string} id */
  indexOf(id) {
    return this.#shown.indexOf(id)
  }

  get doubts() {
    return [...this.#doubts]
  }

  /** Return whether any task stands at the top because the reader has just sent it. */
  get fresh() {
    return this.#fresh.size > 0
  }

  /** @param {string} id */
  isFresh(id) {
    return this.#fresh.has(id)
  }

  /**
   * Note that the reader sends these links: their tasks will stand at the top, and tasks sent earlier go to
   * their usual places.
   * @param {string[]} links
   */
  expect(links) {
    this.#sent = new Set(links)
    const before = [...this.#fresh].flatMap((id) => this.#shown.get(id) ?? [])
    for (const { task_id } of before) this.#shown.remove(task_id) // removed from the place at the top
    this.#fresh.clear()
    for (const task of before) this.consider(task)
  }

  /** @param {Task} task  that was made for the reader, whether it is known or not */
  welcome({ task_id, url }) {
    this.#sent.delete(url)
    const shown = this.#shown.get(task_id)
    this.#shown.remove(task_id)
    this.#fresh.add(task_id)
    if (shown) this.consider(shown)
  }

  /**
   * Show, move, change or drop a task. A task that only the server can judge stays as it is for now.
   * @param {Task} task
   */
  consider(task) {
    const isShown = this.#shown.get(task.task_id) !== undefined
    const isSent = !isShown && !task.playlist_id && !isFinal(task) && this.#sent.has(task.url)
    if (isSent) this.#fresh.add(task.task_id)
    const fits = this.rule.matches(task)
    if (fits === false || !this.#isLoaded(task)) return this.drop(task.task_id)
    if (fits === undefined) this.#doubts.add(task.task_id)
    else this.#doubts.delete(task.task_id)
    if (fits || isShown) this.#shown.put(task)
  }

  /** @param {string} id */
  drop(id) {
    this.#doubts.delete(id)
    this.#shown.remove(id)
  }

  /**
   * Replace the list by these tasks, perhaps with another rule.
   * @param {Rule} rule
   * @param {Iterable<Task>} tasks
   */
  reset(rule, tasks) {
    this.rule = rule
    this.order = new Order(new Sections(new Date(), rule.sort, rule.text !== "", this.#fresh))
    this.#shown = this.#inOrder()
    this.#doubts.clear()
    for (const task of tasks) this.consider(task)
  }

  /**
   * Add the tasks of a page: the list is loaded down to the last of them.
   * @param {Task[]} tasks
   * @param {boolean} hasMore
   */
  reach(tasks, hasMore) {
    const [before, last] = [this.edge, this.order.last(tasks)]
    if (!hasMore) this.edge = null
    else if (last && (!before || this.order.compare(last, before) > 0)) this.edge = last
  }

  #inOrder() {
    const { order } = this
    return new Sequence((/** @type {Task} */ a, /** @type {Task} */ b) => order.compare(a, b))
  }

  /** @param {Task} task */
  #isLoaded(task) {
    return this.edge === null || this.order.compare(task, this.edge) <= 0
  }
}
