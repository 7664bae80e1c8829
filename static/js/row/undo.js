// @ts-check
// Actions that can be taken back for a while: a deletion, which is sent only when the time is over or the
// page is left; and a cancel, which was sent at once and is undone by a retry from the partial file.

import { Problem } from "../base/api.js"

const PATIENCE_MS = 10_000
/** The most tasks that the server deletes in one request. */
const AT_ONCE = 500

/** @typedef {{kind: "delete" | "cancel", isAsked: boolean, wasPaused: boolean, timer: ReturnType<typeof setTimeout> | undefined}} Pending */

/** Fires "change" with the id of a task in `detail`. */
export class Undo extends EventTarget {
  #api
  #requests
  /** @type {Map<string, Pending>} */
  #pending = new Map()

  /**
   * @param {import("../base/api.js").Api} api
   * @param {import("./requests.js").TaskRequests} requests
   */
  constructor(api, requests) {
    super()
    this.#api = api
    this.#requests = requests
    addEventListener("pagehide", () => this.finish())
  }

  /**
   * Return what the row of this task says in place of the task.
   * @param {string} id
   * @returns {import("./row.js").Leaving}
   */
  of(id) {
    const pending = this.#pending.get(id)
    if (!pending) return ""
    if (pending.kind === "cancel") return "cancelled"
    return pending.isAsked ? "deleted" : "undo"
  }

  /** @param {string} id */
  delete(id) {
    this.#begin(id, "delete", () => this.#ask(id))
  }

  /**
   * Delete many tasks together.
   * @param {string[]} ids
   */
  deleteAll(ids) {
    const begun = ids.map((id) => ({ id, pending: this.#begin(id, "delete") }))
    const isMeant = (/** @type {typeof begun[0]} */ { id, pending }) => this.#pending.get(id) === pending
    setTimeout(() => this.#askAll(begun.filter(isMeant).map(({ id }) => id)), PATIENCE_MS)
  }

  /**
   * @param {string} id  whose task was cancelled just now
   * @param {boolean} wasPaused  and is to be so again
   */
  cancelled(id, wasPaused) {
    this.#begin(id, "cancel", () => this.#end(id)).wasPaused = wasPaused
  }

  /** @param {import("../tasks/task.js").Task} task */
  async takeBack(task) {
    const pending = this.#pending.get(task.task_id)
    if (!pending || pending.isAsked) return
    this.#end(task.task_id)
    if (pending.kind !== "cancel") return
    const isBack = await this.#requests.run("retry", task)
    if (isBack && pending.wasPaused) await this.#requests.run("pause", task)
  }

  /**
   * Take back the last common action on these tasks.
   * @param {string[]} ids
   */
  async takeBackAll(ids) {
    const back = ids.filter((id) => this.#pending.get(id)?.isAsked === false)
    const cancelled = back.filter((id) => this.#pending.get(id)?.kind === "cancel")
    const paused = cancelled.filter((id) => this.#pending.get(id)?.wasPaused)
    for (const id of back) this.#end(id)
    for (const part of parts(cancelled)) await this.#requests.runAll({ action: "retry", ids: part })
    for (const part of parts(paused)) await this.#requests.runAll({ action: "pause", ids: part })
  }

  /**
   * Send the pending deletions now, because the page is left. Resolves once they are answered or given up.
   */
  finish() {
    const ids = this.#toAsk([...this.#pending.keys()])
    return Promise.all(
      parts(ids).map(async (part) => {
        const isDone = await this.#api.leave("POST", "api/tasks/actions", { action: "delete", ids: part })
        if (!isDone) this.gone(part) // for a reader who comes back to the page by the history
      }),
    )
  }

  /** @param {string[]} ids  of tasks that are no more */
  gone(ids) {
    for (const id of ids) this.#end(id)
  }

  /**
   * Mark the pending deletions of these tasks as sent, and return their ids.
   * @param {string[]} ids
   */
  #toAsk(ids) {
    return ids.filter((id) => {
      const pending = this.#pending.get(id)
      if (pending?.kind !== "delete" || pending.isAsked) return false
      clearTimeout(pending.timer)
      pending.isAsked = true
      this.#changed(id)
      return true
    })
  }

  /** @param {string[]} ids */
  async #askAll(ids) {
    const asked = this.#toAsk(ids)
    for (const part of parts(asked)) await this.#requests.runAll({ action: "delete", ids: part })
    this.gone(asked)
  }

  /**
   * @param {string} id
   * @param {Pending["kind"]} kind
   * @param {() => void} [then]  when the time is over
   */
  #begin(id, kind, then) {
    clearTimeout(this.#pending.get(id)?.timer)
    const pending = { kind, isAsked: false, wasPaused: false, timer: then && setTimeout(then, PATIENCE_MS) }
    this.#pending.set(id, pending)
    this.#changed(id)
    return pending
  }

  /** @param {string} id */
  #end(id) {
    clearTimeout(this.#pending.get(id)?.timer)
    if (this.#pending.delete(id)) this.#changed(id)
  }

  /** @param {string} id */
  async #ask(id) {
    if (!this.#toAsk([id]).length) return
    await this.#requests.delete(id).catch((error) => {
      if (!(error instanceof Problem)) throw error // the row is shown again, and says why
    })
    this.#end(id)
  }

  /** @param {string} id */
  #changed(id) {
    this.dispatchEvent(new CustomEvent("change", { detail: id }))
  }
}

/** @param {string[]} ids */
function parts(ids) {
  return Array.from(
    { length: Math.ceil(ids.length / AT_ONCE) },
    (_, at) => ids.slice(at * AT_ONCE, (at + 1) * AT_ONCE),
  )
}
