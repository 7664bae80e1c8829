// @ts-check
// The number of rows of each kind, as the server counts them (a list is one row), and whether the queue is
// paused, which the page learns at once.

import { Problem } from "../base/api.js"
import { on, setText } from "../base/dom.js"
import { RUNNING_STAGES, WAITING_STAGES } from "./task.js"

/** Time between two requests, however much changes. */
const PAUSE_MS = 2_000
/** ms after the first answer, in which a first visit still loads what it shows. */
const CALM_MS = 5_000
/** @type {Record<string, readonly string[]>} */
const KINDS = {
  active: RUNNING_STAGES,
  waiting: WAITING_STAGES,
  completed: ["completed"],
  failed: ["failed"],
  cancelled: ["cancelled"],
}

/** Fires "change". */
export class Counts extends EventTarget {
  isPaused = false
  /**
   * The number of tasks in each stage; tasks that only ask something do not count as failed.
   * @type {Record<string, number>}
   */
  stages = {}
  #api
  #form
  #format
  #isStale = false
  /**
   * The number of pauses and resumes from this page: an earlier request may still answer with the state
   * before.
   */
  #changes = 0
  #newWatch
  /**
   * Follows the state of the queue. Made when the list may first be shown: nothing needs it before.
   * @type {Promise<import("./queuewatch.js").QueueWatch> | undefined}
   */
  #watch
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {import("../base/api.js").Api} api
   * @param {HTMLFormElement} form  of the filters
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {() => Promise<import("./queuewatch.js").QueueWatch>} newWatch
   */
  constructor(api, form, i18n, newWatch) {
    super()
    this.#api = api
    this.#form = form
    this.#format = (/** @type {number} */ n) => i18n.format.count(n)
    this.#newWatch = newWatch
  }

  /** Return whose tasks are counted; "": everybody's. */
  get #owner() {
    return String(new FormData(this.#form).get("owner") ?? "")
  }

  /** Request the counts soon, because they are out of date. */
  stale() {
    this.#isStale = true
    this.#timer ??= setTimeout(() => this.#ask(), PAUSE_MS)
  }

  /** Request the counts now. */
  async ask() {
    clearTimeout(this.#timer)
    this.#timer = undefined
    await this.#ask()
    this.#form.toggleAttribute("data-counted", true)
  }

  /**
   * Return how many tasks belong to this list; 0 if only the server could say, which is not asked.
   * @param {import("../list/filter.js").Rule} rule
   */
  of({ choice, text }) {
    const stages = KINDS[choice] ?? Object.keys(this.stages)
    return text ? 0 : stages.reduce((sum, stage) => sum + (this.stages[stage] ?? 0), 0)
  }

  clear() {
    this.#watch?.then((watch) => watch.stop(), () => {})
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#isStale = false
    this.#show({ paused: false, stages: {}, asking: 0 })
  }

  /** @param {boolean} isPaused */
  async pause(isPaused) {
    const change = ++this.#changes
    const answer = await this.#api.send("POST", `api/queue/${isPaused ? "pause" : "resume"}`)
    if (change !== this.#changes) return
    this.#show({ ...answer, stages: undefined })
    this.#follow()
  }

  async #ask() {
    this.#isStale = false
    try {
      const before = this.#changes
      const owner = this.#owner
      const answer = await this.#api.get("api/queue", { folded: 1, owner })
      if (before === this.#changes && owner === this.#owner) {
        this.#show(answer)
        this.#follow()
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error // the next change requests the counts again
    }
    this.#timer = undefined
    if (this.#isStale) this.stale()
  }

  /** Watch the queue, to learn of a pause or its end at once. */
  #follow() {
    this.#watch ??= new Promise((resolve) => setTimeout(resolve, CALM_MS)).then(this.#newWatch).then(
      (watch) => {
        // Its answer counts the tasks of everybody.
        on(watch, "answer", (answer) => this.#show(this.#owner ? { ...answer, stages: undefined } : answer))
        return watch
      },
    )
    this.#watch.then((watch) => watch.start(this.isPaused), () => (this.#watch = undefined))
  }

  /** @param {{paused: boolean, stages?: Record<string, number>, asking?: number}} answer  without `stages` they stay */
  #show({ paused, stages, asking = 0 }) {
    this.isPaused = paused
    if (stages) this.stages = { ...stages, failed: Math.max(0, (stages.failed ?? 0) - asking) }
    for (const [name, kinds] of Object.entries(KINDS)) {
      const count = kinds.reduce((sum, stage) => sum + (this.stages[stage] ?? 0), 0)
      const part = this.#form.querySelector(`input[value=${name}] + span .count`)
      setText(/** @type {HTMLElement} */ (part), count ? this.#format(count) : "")
    }
    this.dispatchEvent(new Event("change"))
  }
}
