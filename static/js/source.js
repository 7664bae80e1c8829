// @ts-check
// Where lists come from: `GET /api/tasks` as the filter asks for it.

import { Problem } from "./api.js"
import { RUNNING_STAGES } from "./task.js"

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{tasks: Task[], next_cursor?: string}} Page */

const LARGEST_PAGE = 200

export class Source {
  #api
  #filter

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./filter.js").Filter} filter
   */
  constructor(api, filter) {
    this.#api = api
    this.#filter = filter
  }

  /**
   * @param {import("./api.js").Query} query
   * @param {AbortSignal} signal
   * @returns {Promise<Page>}
   */
  page(query, signal) {
    return this.#api.get("api/tasks", { ...this.#filter.query, ...query }, signal)
  }

  /**
   * The first `count` tasks as one page, in as few requests as the server allows.
   * @param {number} count
   * @param {AbortSignal} signal
   * @returns {Promise<Page>}
   */
  async first(count, signal) {
    /** @type {Page} */
    const whole = { tasks: [] }
    do {
      const limit = Math.min(count - whole.tasks.length, LARGEST_PAGE)
      const page = await this.page({ limit, cursor: whole.next_cursor }, signal)
      whole.tasks.push(...page.tasks)
      whole.next_cursor = page.next_cursor
    } while (whole.next_cursor && whole.tasks.length < count)
    return whole
  }

  /**
   * What runs, wherever it stands in the pages; nothing if the filter does not put it on top.
   * @param {AbortSignal} signal
   */
  async running(signal) {
    if (!this.#filter.pinsRunning) return []
    const asked = RUNNING_STAGES.map((stage) =>
      this.page({ status: undefined, stage, limit: LARGEST_PAGE }, signal)
    )
    return (await Promise.all(asked)).flatMap((page) => page.tasks)
  }

  /**
   * One task, or null if it is gone.
   * @param {string} id
   * @param {AbortSignal} signal
   * @returns {Promise<Task | null>}
   */
  async task(id, signal) {
    try {
      return await this.#api.get(`api/status/${id}`, {}, signal)
    } catch (error) {
      if (error instanceof Problem && error.status === 404) return null
      throw error
    }
  }
}
