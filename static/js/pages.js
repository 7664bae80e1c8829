// @ts-check
// How far down the list is loaded: page after page, and after a gap what may have been missed.

import { isRunning } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

const PAGE_SIZE = 50

/** Fires "listed" after each answer. */
export class Pages extends EventTarget {
  #source
  #tasks
  #order
  #list
  /** @type {string | undefined} */
  #cursor
  #loaded = PAGE_SIZE
  /** @type {AbortController | null} */
  #request = null

  /**
   * @param {import("./source.js").Source} source
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./order.js").Order} order
   * @param {import("./list.js").TaskList} list
   */
  constructor(source, tasks, order, list) {
    super()
    this.#source = source
    this.#tasks = tasks
    this.#order = order
    this.#list = list
  }

  get isBusy() {
    return this.#request !== null
  }

  get hasMore() {
    return this.#cursor !== undefined
  }

  /** The first page, in place of all that is shown. */
  first() {
    return this.#alone(async (signal) => {
      const page = await this.#source.page({ limit: PAGE_SIZE }, signal)
      const running = page.next_cursor ? await this.#source.running(signal) : []
      this.#loaded = PAGE_SIZE
      this.#reached(page)
      this.#take([...page.tasks, ...running])
      this.#tasks.flush()
      this.#list.rebuild(this.#tasks.values())
    })
  }

  /** The next page that holds anything new: what runs is shown already. */
  more() {
    return this.#alone(async (signal) => {
      let hasNews = false
      while (this.hasMore && !hasNews) {
        const page = await this.#source.page({ limit: PAGE_SIZE, cursor: this.#cursor }, signal)
        hasNews = page.tasks.some((task) => !this.#list.card(task.task_id))
        this.#loaded += PAGE_SIZE
        this.#reached(page)
        this.#take(page.tasks)
      }
      this.#tasks.flush()
    })
  }

  /** What changed while nobody told us, as far down as pages were loaded; a poll looks at the first only. */
  refresh({ firstPageOnly = false } = {}) {
    return this.#alone(async (signal) => {
      const before = this.#list.tasks
      const count = firstPageOnly ? PAGE_SIZE : this.#loaded
      const page = await this.#source.first(count, signal)
      const running = page.next_cursor ? await this.#source.running(signal) : []
      if (count === this.#loaded || !page.next_cursor) this.#reached(page)
      const last = page.next_cursor ? page.tasks.at(-1) : undefined
      this.#take([...page.tasks, ...running])
      await this.#askForMissing(before, [...page.tasks, ...running], last, signal)
      this.#tasks.flush()
    })
  }

  /**
   * What is shown and should have been listed: it was deleted, or it ran and has ended further down.
   * @param {Task[]} before
   * @param {Task[]} listed
   * @param {Task | undefined} last  nothing below it was listed; undefined: that was all there is
   * @param {AbortSignal} signal
   */
  async #askForMissing(before, listed, last, signal) {
    const answered = new Set(listed.map((task) => task.task_id))
    for (const task of before) {
      const isBelow = last !== undefined && this.#order.comparePages(task, last) > 0
      const hasNews = this.#tasks.get(task.task_id) !== task
      if (answered.has(task.task_id) || hasNews || (isBelow && !isRunning(task))) continue
      const now = await this.#source.task(task.task_id, signal)
      if (now) this.#tasks.merge(now)
      else this.#tasks.remove(task.task_id)
    }
  }

  /** @param {import("./source.js").Page} page */
  #reached({ tasks, next_cursor }) {
    this.#cursor = next_cursor
    this.#list.edge = next_cursor ? (tasks.at(-1) ?? null) : null
  }

  /** @param {Task[]} tasks */
  #take(tasks) {
    this.#order.listed(tasks)
    for (const task of tasks) this.#tasks.merge(task)
  }

  /**
   * One question at a time: the newest makes those before it pointless.
   * @param {(signal: AbortSignal) => Promise<void>} work
   */
  async #alone(work) {
    this.#request?.abort()
    const request = new AbortController()
    this.#request = request
    try {
      await work(request.signal)
      this.dispatchEvent(new Event("listed"))
    } catch (error) {
      if (!request.signal.aborted) throw error
    } finally {
      if (this.#request === request) this.#request = null
    }
  }
}
