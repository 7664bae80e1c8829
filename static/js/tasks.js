// @ts-check
// All tasks the page has heard of, from whichever side: the highest revision of each wins.

const HIDDEN_TAB_MS = 1_000

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{task: Task, before: Task | undefined}} Change */

/** Fires "change" with {@link Change}s and "removed" with ids in `detail`, at most once a frame. */
export class Tasks extends EventTarget {
  /** @type {Map<string, Task>} */
  #known = new Map()
  /** Ids that are gone for good: a list that was asked for earlier may still name them. */
  #removed = new Set()
  /** @type {Map<string, Task | undefined>} what was known when the page was last told */
  #changed = new Map()
  /** @type {string[]} */
  #leaving = []
  #scheduled = false

  /** @param {string} id */
  get(id) {
    return this.#known.get(id)
  }

  values() {
    return this.#known.values()
  }

  /**
   * Take in a payload unless a newer one is here. The same revision counts: it may be in another language.
   * @param {Task} task
   */
  merge(task) {
    const before = this.#known.get(task.task_id)
    if (this.#removed.has(task.task_id) || (before && before.revision > task.revision)) return
    if (!this.#changed.has(task.task_id)) this.#changed.set(task.task_id, before)
    this.#known.set(task.task_id, task)
    this.#schedule()
  }

  /** @param {string} id */
  remove(id) {
    this.#removed.add(id)
    this.#changed.delete(id)
    if (!this.#known.delete(id)) return
    this.#leaving.push(id)
    this.#schedule()
  }

  /** Tell now what would be told with the next frame. */
  flush() {
    const changes = [...this.#changed].map(([id, before]) => ({ task: this.#known.get(id), before }))
    const removed = this.#leaving
    this.#changed = new Map()
    this.#leaving = []
    if (removed.length) this.dispatchEvent(new CustomEvent("removed", { detail: removed }))
    if (changes.length) this.dispatchEvent(new CustomEvent("change", { detail: changes }))
  }

  // Hundreds of messages a second become one update of the page a frame. A hidden tab has no
  // frames, but its title still counts: hence the timer.
  #schedule() {
    if (this.#scheduled) return
    this.#scheduled = true
    const tell = () => {
      cancelAnimationFrame(frame)
      clearTimeout(timer)
      this.#scheduled = false
      this.flush()
    }
    const frame = requestAnimationFrame(tell)
    const timer = setTimeout(tell, HIDDEN_TAB_MS)
  }
}
