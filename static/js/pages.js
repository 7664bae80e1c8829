// @ts-check
// How far down the list is loaded: page after page.

import { LARGEST_PAGE } from "./source.js"

/** @typedef {import("./task.js").Task} Task */

export class Pages {
  #source
  #filter
  #tasks
  #list
  /** @type {string | undefined} */
  #cursor

  /**
   * @param {import("./source.js").Source} source
   * @param {import("./filter.js").Filter} filter
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./list.js").TaskList} list
   */
  constructor(source, filter, tasks, list) {
    this.#source = source
    this.#filter = filter
    this.#tasks = tasks
    this.#list = list
  }

  get hasMore() {
    return this.#cursor !== undefined
  }

  /**
   * The first page, in place of all that is shown.
   * @param {AbortSignal} signal
   */
  async first(signal) {
    const { rule } = this.#filter
    this.#tasks.listen()
    const page = await this.#source.first({ signal })
    this.#tasks.mergeAll(page.tasks)
    this.#list.reset(rule, [])
    this.#list.edge = null
    this.reached(page)
    for (const task of this.#tasks.heard) this.#list.consider(task) // with what came meanwhile over the feed
    this.#tasks.flush()
  }

  /**
   * The next page that holds anything new: a task that has moved meanwhile may be on two.
   * @param {AbortSignal} signal
   */
  async more(signal) {
    let hasNews = false
    while (this.hasMore && !hasNews) {
      const page = await this.#source.page({ limit: LARGEST_PAGE, cursor: this.#cursor }, { signal })
      hasNews = page.tasks.some((task) => !this.#list.get(task.task_id))
      this.reached(page)
      this.#tasks.mergeAll(page.tasks)
    }
    this.#tasks.flush()
  }

  /**
   * The list is loaded as far as this page goes.
   * @param {import("./source.js").Page} page
   */
  reached({ tasks, next_cursor }) {
    this.#cursor = next_cursor
    this.#list.reach(tasks, next_cursor !== undefined)
  }

  /** Show nothing any more. */
  clear() {
    this.reached({ tasks: [] })
    this.#list.reset(this.#filter.rule, [])
  }
}
