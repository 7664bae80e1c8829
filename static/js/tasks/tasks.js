// @ts-check
// All tasks that the page knows, from the feed and from answers: the highest revision of each wins.

import { isFinal } from "./task.js"

/** Time between two events: nobody reads faster, and each costs a layout. */
const TELL_MS = 200

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{task: Task, before: Task | undefined}} Change */

/** Fires "change" with {@link Change}s and "removed" with ids in `detail`, a few times a second. */
export class Tasks extends EventTarget {
  /** @type {Map<string, Task>} */
  #known = new Map()
  /** The tasks that have not ended. @type {Map<string, Task>} */
  #unfinished = new Map()
  /** The ids of the entries of each list, by the id of the list. @type {Map<string, Set<string>>} */
  #entries = new Map()
  /** The ids of removed tasks: a list that was requested earlier may still have them. @type {Set<string>} */
  #removed = new Set()
  /** @type {Map<string, Task | undefined>} what was known when the page was last told */
  #changed = new Map()
  /** @type {string[]} */
  #leaving = []
  /** @type {Set<string>} */
  #heard = new Set()
  #newest = 0
  #isOpen = true
  #scheduled = false
  #toldAt = -TELL_MS

  /** @param {string} id */
  get(id) {
    return this.#known.get(id)
  }

  /** @param {string} id */
  has(id) {
    return this.#known.has(id)
  }

  /**
   * Return a task of one of these links.
   * @param {string[]} links
   * @param {(task: Task) => boolean} fits
   */
  find(links, fits) {
    if (!links.length) return undefined
    for (const task of this.#known.values()) {
      if ((links.includes(task.url) || links.includes(task.video_info.webpage_url ?? "")) && fits(task)) {
        return task
      }
    }
  }

  /**
   * Return the known entries of a list, in their order.
   * @param {string} id
   */
  entriesOf(id) {
    const entries = [...(this.#entries.get(id) ?? [])].flatMap((each) => this.#known.get(each) ?? [])
    return entries.sort((a, b) => a.number - b.number)
  }

  /** Return the tasks that have not ended. */
  get unfinished() {
    return [...this.#unfinished.values()]
  }

  /**
   * Take in a payload unless a newer one is known; the same revision is taken, too, since it may be in
   * another language. Return whether it is news: a newer revision of a known task, or a task newer than all
   * others.
   * @param {Task} task
   */
  merge(task) {
    const before = this.#known.get(task.task_id)
    const isOld = this.#removed.has(task.task_id) || (before && before.revision > task.revision)
    if (isOld || !this.#isOpen) return false
    const isNews = before ? before.revision < task.revision : task.number > this.#newest
    if (!this.#changed.has(task.task_id)) this.#changed.set(task.task_id, before)
    this.#known.set(task.task_id, task)
    if (isFinal(task)) this.#unfinished.delete(task.task_id)
    else this.#unfinished.set(task.task_id, task)
    if (task.playlist_id) {
      const entries = this.#entries.get(task.playlist_id) ?? new Set()
      this.#entries.set(task.playlist_id, entries.add(task.task_id))
    }
    this.#heard.add(task.task_id)
    this.#newest = Math.max(this.#newest, task.number)
    this.#schedule()
    return isNews
  }

  /**
   * Do `merge` for many tasks; return whether any of them was news.
   * @param {Task[]} tasks
   */
  mergeAll(tasks) {
    return tasks.filter((task) => this.merge(task)).length > 0
  }

  /**
   * Remove a task; return whether it was known.
   * @param {string} id
   */
  remove(id) {
    this.#removed.add(id)
    this.#entries.delete(id)
    this.#entries.get(this.#known.get(id)?.playlist_id ?? "")?.delete(id)
    this.#changed.delete(id)
    this.#unfinished.delete(id)
    if (!this.#known.delete(id)) return false
    this.#leaving.push(id)
    this.#schedule()
    return true
  }

  /**
   * Forget everything and take in nothing more, not even answers that are on their way, because the session
   * has ended.
   */
  close() {
    this.#isOpen = false
    this.#known.clear()
    this.#unfinished.clear()
    this.#entries.clear()
    this.#removed.clear()
    this.#changed.clear()
    this.#leaving = []
    this.#heard.clear()
  }

  open() {
    this.#isOpen = true
  }

  /** From now on note which tasks are taken in. */
  listen() {
    this.#heard.clear()
  }

  /** Return the tasks that were taken in since `listen`. */
  get heard() {
    return [...this.#heard].flatMap((id) => this.#known.get(id) ?? [])
  }

  /** Fire the events that are due now, without waiting for the timer. */
  flush() {
    const changes = [...this.#changed].map(([id, before]) => ({ task: this.#known.get(id), before }))
    const removed = this.#leaving
    this.#changed = new Map()
    this.#leaving = []
    if (removed.length) this.dispatchEvent(new CustomEvent("removed", { detail: removed }))
    if (changes.length) this.dispatchEvent(new CustomEvent("change", { detail: changes }))
  }

  // Hundreds of messages a second become a few updates of the page; the first one of them is shown with the
  // next frame.
  #schedule() {
    if (this.#scheduled) return
    this.#scheduled = true
    const wait = Math.max(0, this.#toldAt + TELL_MS - performance.now())
    setTimeout(() => {
      this.#scheduled = false
      this.#toldAt = performance.now()
      this.flush()
    }, wait)
  }
}
