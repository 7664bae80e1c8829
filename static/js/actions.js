// @ts-check
// What can be done with a task: a button's data-action -> a request, and what the answer means.

import { Problem } from "./problem.js"
import { HIGHEST_PRIORITY } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/** @type {Record<string, (task: Task) => [method: string, path: string, body?: unknown]>} */
const REQUESTS = {
  pause: (task) => ["POST", `api/tasks/${task.task_id}/pause`],
  finish: (task) => ["POST", `api/tasks/${task.task_id}/finish`],
  resume: (task) => ["POST", `api/tasks/${task.task_id}/resume`],
  cancel: (task) => ["POST", `api/tasks/${task.task_id}/cancel`],
  retry: (task) => ["POST", `api/tasks/${task.task_id}/retry`],
  raise: (task) => {
    const priority = Math.min(task.priority + 1, HIGHEST_PRIORITY)
    return ["PATCH", `api/tasks/${task.task_id}`, { priority }]
  },
  delete: (task) => ["DELETE", `api/tasks/${task.task_id}`],
}

/** Fires "told" when the server answered with something that the page had not heard yet. */
export class Actions extends EventTarget {
  #api
  #tasks
  #rows
  /** A second click changes nothing while the first is under way. */
  #underWay = new Set()

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./rows.js").Rows} rows
   */
  constructor(api, tasks, rows) {
    super()
    this.#api = api
    this.#tasks = tasks
    this.#rows = rows
  }

  /**
   * @param {string} action
   * @param {Task} task
   */
  async run(action, task) {
    const id = task.task_id
    if (!(action in REQUESTS) || this.#underWay.has(id)) return
    this.#busy(id, true)
    try {
      const answer = await this.#api.send(...REQUESTS[action](task))
      const isNews = answer ? this.#tasks.merge(answer) : this.#tasks.remove(id)
      if (isNews) this.dispatchEvent(new Event("told"))
    } catch (error) {
      this.#refused(error, id)
    } finally {
      this.#busy(id, false)
    }
  }

  /**
   * @param {unknown} error
   * @param {string} id
   */
  #refused(error, id) {
    if (!(error instanceof Problem)) throw error
    if (error.status === 404) this.#tasks.remove(id)
    else this.#rows.card(id)?.say(error.message)
  }

  /**
   * @param {string} id
   * @param {boolean} isBusy
   */
  #busy(id, isBusy) {
    if (isBusy) this.#underWay.add(id)
    else this.#underWay.delete(id)
    const element = this.#rows.card(id)?.element // another one than before, or none: it was scrolled away
    if (element) element.ariaBusy = String(isBusy)
  }
}
