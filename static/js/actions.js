// @ts-check
// What can be done with a task: the name of an action -> a request, and what the answer means.

import { Problem } from "./problem.js"

/** @typedef {import("./task.js").Task} Task */

/** @type {Record<string, [method: string, path: string, body?: unknown]>} */
const REQUESTS = {
  pause: ["POST", "pause"],
  finish: ["POST", "finish"],
  resume: ["POST", "resume"],
  cancel: ["POST", "cancel"],
  retry: ["POST", "retry"],
  again: ["POST", "retry"],
  first: ["PATCH", "", { position: "first" }],
  last: ["PATCH", "", { position: "last" }],
}

/**
 * Fires "told" when the server answered with something that the page had not heard yet, "busy" with an id, and
 * "refused" with {id, message} in `detail`.
 */
export class Actions extends EventTarget {
  #api
  #tasks
  /** A second click changes nothing while the first is under way. */
  #underWay = new Set()

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./tasks.js").Tasks} tasks
   */
  constructor(api, tasks) {
    super()
    this.#api = api
    this.#tasks = tasks
  }

  /** @param {string} id */
  isBusy(id) {
    return this.#underWay.has(id)
  }

  /**
   * Says whether it was done.
   * @param {string} action  also "remedy.<name>"
   * @param {Task} task
   * @param {object} [given]  with a remedy
   */
  async run(action, { task_id: id }, given) {
    const remedy = action.startsWith("remedy.") ? action.slice("remedy.".length) : ""
    if (!remedy && !(action in REQUESTS)) return false
    const [method, path, body] = remedy ? ["POST", `remedies/${remedy}`, given] : REQUESTS[action]
    return await this.#send(id, method, path, body).catch((error) => this.#refused(error, id))
  }

  /**
   * @param {string} id
   * @throws {Problem} if it is there still
   */
  async delete(id) {
    try {
      await this.#send(id, "DELETE", "")
    } catch (error) {
      this.#refused(error, id)
      if (this.#tasks.has(id)) throw error
    }
  }

  /**
   * @param {string} id
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   */
  async #send(id, method, path, body) {
    if (this.#underWay.has(id)) return false
    this.#busy(id, true)
    try {
      const answer = await this.#api.send(method, ["api/tasks", id, path].filter(Boolean).join("/"), body)
      const isNews = answer ? this.#tasks.merge(answer) : this.#tasks.remove(id)
      if (isNews) this.dispatchEvent(new Event("told"))
      return true
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
    else this.dispatchEvent(new CustomEvent("refused", { detail: { id, message: error.message } }))
    return false
  }

  /**
   * @param {string} id
   * @param {boolean} isBusy
   */
  #busy(id, isBusy) {
    if (isBusy) this.#underWay.add(id)
    else this.#underWay.delete(id)
    this.dispatchEvent(new CustomEvent("busy", { detail: id }))
  }
}
