// @ts-check
// The cards in the document: one for each task that belongs to the pages that were loaded, or that runs.

import { Card } from "./card.js"
import { isRunning } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class TaskList {
  #root
  #filter
  #order
  #makeCard
  /** @type {Map<string, Card>} */
  #byId = new Map()
  /** @type {Card[]} in the order of the document */
  #cards = []
  /** The last task of the last page that was loaded; null: there are no more pages. @type {Task | null} */
  edge = null

  /**
   * @param {HTMLElement} root
   * @param {import("./filter.js").Filter} filter
   * @param {import("./order.js").Order} order
   * @param {(task: Task) => Card} makeCard
   */
  constructor(root, filter, order, makeCard) {
    this.#root = root
    this.#filter = filter
    this.#order = order
    this.#makeCard = makeCard
  }

  get tasks() {
    return this.#cards.map((card) => card.task)
  }

  /** @param {string} id */
  card(id) {
    return this.#byId.get(id)
  }

  /**
   * Show, move, update or drop the card of a task.
   * @param {Task} task
   */
  consider(task) {
    const card = this.#byId.get(task.task_id)
    if (!this.#filter.matches(task)) this.drop(task.task_id)
    else if (card) this.#update(card, task)
    else if (this.#isLoaded(task)) this.#add(this.#makeCard(task))
  }

  /** @param {string} id */
  drop(id) {
    const card = this.#byId.get(id)
    if (!card) return
    const hadFocus = card.element.contains(document.activeElement)
    const index = this.#cards.indexOf(card)
    this.#cards.splice(index, 1)
    this.#byId.delete(id)
    card.element.remove()
    if (hadFocus) (this.#cards[index] ?? this.#cards[index - 1] ?? this.#root).focus()
  }

  /**
   * Begin anew: another filter, or another language.
   * @param {Iterable<Task>} tasks
   */
  rebuild(tasks) {
    this.#cards = []
    this.#byId.clear()
    this.#root.replaceChildren()
    for (const task of tasks) this.consider(task)
  }

  /** @param {Task} task */
  #isLoaded(task) {
    if (this.#filter.pinsRunning && isRunning(task)) return true
    return this.edge === null || this.#order.comparePages(task, this.edge) <= 0
  }

  /**
   * @param {Card} card
   * @param {Task} task
   */
  #update(card, task) {
    const staysInPlace = this.#order.compare(card.task, task) === 0
    card.update(task)
    if (!staysInPlace) this.#place(card)
  }

  /** @param {Card} card */
  #add(card) {
    this.#byId.set(card.task.task_id, card)
    this.#place(card)
  }

  /** @param {Card} card */
  #place(card) {
    const old = this.#cards.indexOf(card)
    if (old >= 0) this.#cards.splice(old, 1)
    const index = this.#indexFor(card.task)
    this.#cards.splice(index, 0, card)
    const focused = card.element.contains(document.activeElement) ? document.activeElement : null
    this.#root.insertBefore(card.element, this.#cards[index + 1]?.element ?? null)
    if (focused instanceof HTMLElement) focused.focus({ preventScroll: true }) // a moved element loses it
  }

  /** @param {Task} task */
  #indexFor(task) {
    let [low, high] = [0, this.#cards.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#order.compare(this.#cards[middle].task, task) <= 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
