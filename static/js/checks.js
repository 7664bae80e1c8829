// @ts-check
// Compares what is shown with the server: after a gap in the feed, when the feed has been silent for long, and for
// tasks of which only the server can say whether they match a search.

import { FIRST_PAGE } from "./pages.js"
import { isRunning } from "./task.js"

/** @typedef {import("./task.js").Task} Task */
/** @typedef {import("./pages.js").Page} Page */
/** @typedef {import("./pages.js").How} How */

/** ms until the answer to a look has to begin: no answer means that the connection is dead. */
const PATIENCE_MS = 5_000

export class Checks {
  #source
  #pages
  #tasks
  #list
  #inSight

  /**
   * @param {import("./pages.js").Source} source
   * @param {import("./pages.js").Pages} pages
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./list.js").TaskList} list
   * @param {() => string[]} inSight  ids of the rows that the reader may see
   */
  constructor(source, pages, tasks, list, inSight) {
    this.#source = source
    this.#pages = pages
    this.#tasks = tasks
    this.#list = list
    this.#inSight = inSight
  }

  /**
   * Bring up to date the first page, the rows in sight and what runs. Returns whether there was any news.
   * @param {AbortSignal} signal
   */
  async look(signal) {
    const [before, how] = [[...this.#list.tasks], { signal, patience: PATIENCE_MS }]
    const page = await this.#source.page({ limit: FIRST_PAGE }, how)
    const seen = [...idsOf(before.filter(isRunning)), ...this.#inSight()]
    return this.#compare(before, page, seen, how)
  }

  /**
   * Bring up to date all tasks that are shown, and all that have not ended.
   * @param {AbortSignal} signal
   */
  async deep(signal) {
    await this.look(signal) // what the reader sees comes first
    const before = [...this.#list.tasks]
    const edge = this.#list.edge ?? this.#list.order.last(before)
    const page = await this.#source.pages(this.#reaches(edge), { signal })
    this.#pages.reached(page)
    await this.#compare(before, page, idsOf([...before, ...this.#tasks.unfinished]), { signal })
  }

  /**
   * Ask the server which of the doubtful tasks match the rule: those that it lists do.
   * @param {AbortSignal} signal
   */
  async judge(signal) {
    const doubtful = this.#list.doubts.flatMap((id) => this.#tasks.get(id) ?? [])
    if (!doubtful.length) return
    const page = await this.#source.pages(this.#reaches(this.#list.order.last(doubtful)), { signal })
    this.#list.rule.missed(without(doubtful, page.tasks))
    this.#tasks.mergeAll(page.tasks)
    this.#tasks.flush()
    for (const { task_id } of doubtful) {
      const task = this.#tasks.get(task_id)
      if (task) this.#list.consider(task)
    }
  }

  /**
   * Take in the listed tasks, and ask by id for those that are missing: they do not match any more, or were removed.
   * @param {Task[]} before  what was shown when the server was asked
   * @param {Page} page
   * @param {string[]} known  ids to ask for unless they were listed
   * @param {How} how
   */
  async #compare(before, page, known, how) {
    const listed = page.tasks
    const last = page.next_cursor ? page.tasks.at(-1) : undefined
    const missing = without(this.#list.order.asFarAs(last, before), listed)
    this.#list.rule.missed(missing.filter((task) => this.#list.get(task.task_id) === task))
    const listedIds = new Set(idsOf(listed))
    const ids = new Set([...idsOf(missing), ...known].filter((id) => !listedIds.has(id)))
    const named = await this.#source.named([...ids], how)
    for (const id of idsOf(named)) ids.delete(id)
    const hasNews = this.#tasks.mergeAll([...listed, ...named])
    const hasGone = [...ids].filter((id) => this.#tasks.remove(id)).length > 0
    this.#tasks.flush()
    return hasNews || hasGone
  }

  /**
   * A function that tells whether a listing down to `last` reaches this task.
   * @param {Task | undefined} task  undefined: any listing is enough
   */
  #reaches(task) {
    return (/** @type {Task} */ last) => !task || this.#list.order.compare(last, task) >= 0
  }
}

/** @param {Task[]} tasks */
const idsOf = (tasks) => tasks.map((task) => task.task_id)

/**
 * @param {Task[]} tasks
 * @param {Task[]} others
 */
function without(tasks, others) {
  const ids = new Set(idsOf(others))
  return tasks.filter((task) => !ids.has(task.task_id))
}
