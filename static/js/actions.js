// @ts-check
// What can be done with a task: the name of an action -> a request, and what the answer means.

import { Problem } from "./problem.js"
import { Turns } from "./turns.js"

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
 * Fires "told" when the server answered with news, "busy" with an id when requests for that task begin or end, and
 * "refused" with {id, message}, in `detail`.
 */
export class Actions extends EventTarget {
  #api
  #tasks
  #turns = new Turns((id) => this.dispatchEvent(new CustomEvent("busy", { detail: id })))

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
    return this.#turns.has(id)
  }

  /**
   * Returns whether the action was done.
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
   * @throws {Problem} if the task is still there
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
  #send(id, method, path, body) {
    return this.#turns.take(id, JSON.stringify([method, path, body]), async () => {
      const answer = await this.#api.send(method, ["api/tasks", id, path].filter(Boolean).join("/"), body)
      this.#told(answer ? this.#tasks.merge(answer) : this.#tasks.remove(id))
    })
  }

  /**
   * Act on many tasks at once; the row of a refused one says why. Returns whether the server has more such tasks.
   * @param {{action: string, ids?: string[], stage?: string}} what
   * @throws {Problem} if nothing was done, and no `ids` tell which rows could say so
   */
  async runMany(what) {
    const { ids = [] } = what
    try {
      const { results, more } = await this.#api.send("POST", "api/tasks/actions", what)
      const news = results.map((/** @type {any} */ result, /** @type {number} */ at) =>
        this.#ended(ids[at], result)
      )
      this.#told(news.includes(true))
      return Boolean(more) && results.some((/** @type {any} */ { task }) => task)
    } catch (error) {
      if (!ids.length) throw error
      for (const id of ids) this.#refused(error, id)
      return false
    }
  }

  /**
   * Take in the result for one task; returns whether it is news.
   * @param {string | undefined} id  undefined: the server chose the task
   * @param {any} result
   */
  #ended(id, { status, task, problem }) {
    if (task) return this.#tasks.merge(task)
    if (!id) return false
    return problem ? this.#refused(new Problem(status, problem), id) : this.#tasks.remove(id)
  }

  /** @param {boolean} isNews */
  #told(isNews) {
    if (isNews) this.dispatchEvent(new Event("told"))
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
}
