// @ts-check
// What can be done with a task: a button's data-action -> a request, and what the answer means.

import { Problem } from "./api.js"
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

export class Actions {
  #api
  #tasks
  /** A second click changes nothing while the first is under way. */
  #underWay = new Set()

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./tasks.js").Tasks} tasks
   */
  constructor(api, tasks) {
    this.#api = api
    this.#tasks = tasks
  }

  /** @param {string} action */
  knows(action) {
    return action in REQUESTS
  }

  /**
   * @param {string} action
   * @param {import("./card.js").Card} card
   */
  async run(action, card) {
    const id = card.task.task_id
    if (this.#underWay.has(id)) return
    this.#underWay.add(id)
    card.element.ariaBusy = "true"
    try {
      const answer = await this.#api.send(...REQUESTS[action](card.task))
      if (answer) this.#tasks.merge(answer)
      else this.#tasks.remove(id)
    } catch (error) {
      this.#refused(error, card)
    } finally {
      this.#underWay.delete(id)
      card.element.ariaBusy = "false"
    }
  }

  /**
   * @param {unknown} error
   * @param {import("./card.js").Card} card
   */
  #refused(error, card) {
    if (!(error instanceof Problem)) throw error
    if (error.status === 404) this.#tasks.remove(card.task.task_id)
    else card.say(error.message)
  }
}
