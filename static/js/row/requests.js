// @ts-check
// Sends requests for actions on tasks, one after the other for each task, and reports the results.

import { ACTIONS } from "./actions.js"
import { Problem } from "../base/api.js"

/** @typedef {{what: string, answered: Promise<unknown>}} Turn */

/** Serialises the requests for a task: the second may depend on the outcome of the first, and may overtake it. */
class Turns {
  /** The last request in the queue of each task. @type {Map<string, Turn>} */
  #last = new Map()
  #changed

  /** @param {(id: string) => void} changed  called when requests for a task begin or end */
  constructor(changed) {
    this.#changed = changed
  }

  /** @param {string} id */
  has(id) {
    return this.#last.has(id)
  }

  /**
   * Send a request in the queue of its task; return whether it was sent: an equal one is not sent while the
   * first is under way.
   * @param {string} id
   * @param {string} what
   * @param {() => Promise<void>} ask
   */
  async take(id, what, ask) {
    if (this.#last.get(id)?.what === what) return false
    await this.takeAll([id], what, ask)
    return true
  }

  /**
   * Send one request for several tasks, which waits in the queue of each.
   * @template T
   * @param {string[]} ids
   * @param {string} what
   * @param {() => Promise<T>} ask
   */
  async takeAll(ids, what, ask) {
    const before = ids.map((id) => this.#last.get(id)?.answered)
    const { promise: answered, resolve } = Promise.withResolvers()
    for (const id of ids) {
      this.#last.set(id, { what, answered })
      this.#changed(id)
    }
    try {
      await Promise.all(before)
      return await ask()
    } finally {
      resolve(undefined)
      for (const id of ids) {
        if (this.#last.get(id)?.answered === answered) this.#last.delete(id)
        this.#changed(id)
      }
    }
  }
}

/** @typedef {import("../tasks/task.js").Task} Task */

/**
 * Fires "told" when the server answered with news, "busy" with an id when requests for that task begin or end, and
 * "refused" with {id, message}, in `detail`.
 */
export class TaskRequests extends EventTarget {
  #api
  #tasks
  #turns = new Turns((id) => this.dispatchEvent(new CustomEvent("busy", { detail: id })))

  /**
   * @param {import("../base/api.js").Api} api
   * @param {import("../tasks/tasks.js").Tasks} tasks
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
   * Do an action; return whether it was done.
   * @param {string} action of the table
   * @param {Task} task
   * @param {object} [given] the body, of a remedy that has one
   */
  async run(action, { task_id: id }, given) {
    const { asks } = ACTIONS[action]
    if (!asks) return false
    const [method, path, body = given] = asks
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
   * Act on many tasks at once; the row of a refused task says why.
   * @param {{action: string, ids?: string[], playlist_id?: string}} what
   * @throws {Problem} if nothing was done, and no `ids` tell which rows could say so
   */
  async runAll(what) {
    const { ids = [] } = what
    try {
      const send = () => this.#api.send("POST", "api/tasks/actions", what)
      const { results } = await this.#turns.takeAll(ids, "", send)
      const news = results.map((/** @type {any} */ result, /** @type {number} */ at) =>
        this.#ended(ids[at], result)
      )
      this.#told(news.includes(true))
    } catch (error) {
      if (!ids.length) throw error
      for (const id of ids) this.#refused(error, id)
    }
  }

  /**
   * Take in the result for one task; return whether it is news.
   * @param {string | undefined} id undefined: the server chose the task
   * @param {any} result
   */
  #ended(id, { status, task, task_id, problem }) {
    if (task) return this.#tasks.merge(task)
    if (!id || task_id) return false // the feed will report what happened to the task
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
