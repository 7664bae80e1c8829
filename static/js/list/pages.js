// @ts-check
// Requests lists of tasks from `GET /api/tasks`, by the filter or by ids.

import { Problem } from "../base/api.js"
import { isRunning } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {{tasks: Task[], next_cursor?: string}} Page */
/** @typedef {{signal?: AbortSignal, patience?: number}} How */

/** The number of tasks on the first page: few, so that it comes fast. */
export const FIRST_PAGE = 50
/** The most tasks that the server returns at once. */
export const LARGEST_PAGE = 200

export class Source {
  #api
  #filter
  /**
   * The request for the first page that `begin` has made, with its rule.
   * @type {{rule: object, page: Promise<Page>} | null}
   */
  #early = null

  /**
   * @param {import("../base/api.js").Api} api
   * @param {{rule: import("./filter.js").Rule}} filter
   */
  constructor(api, filter) {
    this.#api = api
    this.#filter = filter
  }

  /** Request the first page early: the parts of the page are made while it is on its way. */
  begin() {
    const page = this.page({ limit: FIRST_PAGE }, {})
    page.catch(() => {}) // an error is reported to the caller that awaits the page
    this.#early = { rule: this.#filter.rule, page }
  }

  /**
   * Return the first page.
   * @param {How} how
   */
  async first(how) {
    const early = this.#early
    this.#early = null
    const isAsked = early?.rule === this.#filter.rule
    const page = await (isAsked ? early?.page : undefined) ?? await this.page({ limit: FIRST_PAGE }, how)
    how.signal?.throwIfAborted()
    return page
  }

  /**
   * @param {import("../base/api.js").Query} query
   * @param {How} how
   * @returns {Promise<Page>}
   */
  async page(query, how) {
    const { rule } = this.#filter
    /** @type {Page} */
    const page = await this.#api.get("api/tasks", { ...rule.query, ...query }, how)
    // Otherwise the answer is not from Clipwire but, for example, from a captive portal.
    if (!page?.tasks?.every((task) => task?.task_id)) throw new Problem(0, {})
    rule.found(page.tasks)
    return page
  }

  /**
   * Return the first pages as one, until they contain enough.
   * @param {(last: Task) => boolean} isEnough
   * @param {How} how
   */
  async pages(isEnough, how) {
    /** @type {Page} */
    const whole = { tasks: [] }
    do {
      const page = await this.page({ limit: LARGEST_PAGE, cursor: whole.next_cursor }, how)
      whole.tasks.push(...page.tasks)
      whole.next_cursor = page.next_cursor
    } while (whole.next_cursor && !whole.tasks.slice(-1).some(isEnough))
    return whole
  }

  /**
   * Return all entries of a list.
   * @param {string} id
   * @param {string} [q] those that hold this text
   */
  async entries(id, q) {
    /** @type {Task[]} */
    const tasks = []
    /** @type {string | undefined} */
    let cursor
    do {
      /** @type {Page} */
      const page = await this.#api.get("api/tasks", { playlist_id: id, q, limit: LARGEST_PAGE, cursor })
      tasks.push(...page.tasks)
      cursor = page.next_cursor
    } while (cursor)
    return tasks
  }

  /**
   * Return those of the named tasks that still exist.
   * @param {string[]} ids
   * @param {How} how
   */
  async named(ids, how) {
    /** @type {Task[]} */
    const tasks = []
    for (let from = 0; from < ids.length; from += LARGEST_PAGE) {
      const query = { ids: ids.slice(from, from + LARGEST_PAGE).join(",") }
      /** @type {Page} */
      const page = await this.#api.get("api/tasks", query, how)
      tasks.push(...page.tasks)
    }
    return tasks
  }
}

// How far down the list is loaded, page after page.

export class Pages {
  #source
  #filter
  #tasks
  #list
  /** @type {string | undefined} */
  #cursor

  /**
   * @param {import("./pages.js").Source} source
   * @param {import("./filter.js").Filter} filter
   * @param {import("../tasks/tasks.js").Tasks} tasks
   * @param {import("./list.js").TaskList} list
   */
  constructor(source, filter, tasks, list) {
    this.#source = source
    this.#filter = filter
    this.#tasks = tasks
    this.#list = list
  }

  get hasMore() {
    return this.#cursor !== undefined
  }

  /**
   * Load the first page, in place of the whole list.
   * @param {AbortSignal} signal
   */
  async first(signal) {
    const { rule } = this.#filter
    this.#tasks.listen()
    const page = await this.#source.first({ signal })
    this.#tasks.mergeAll(page.tasks)
    this.#list.reset(rule, [])
    this.#list.edge = null
    this.reached(page)
    // Also consider tasks that the feed reported while the page was loading.
    for (const task of this.#tasks.heard) this.#list.consider(task)
    this.#tasks.flush()
    this.#nameLists(page.tasks)
  }

  /**
   * Load the next page that has anything new: a task that has moved meanwhile may be on two pages.
   * @param {AbortSignal} signal
   */
  async more(signal) {
    let hasNews = false
    while (this.hasMore && !hasNews) {
      const page = await this.#source.page({ limit: LARGEST_PAGE, cursor: this.#cursor }, { signal })
      hasNews = page.tasks.some((task) => !this.#list.get(task.task_id))
      this.reached(page)
      this.#tasks.mergeAll(page.tasks)
      this.#nameLists(page.tasks)
    }
    this.#tasks.flush()
  }

  /**
   * Load all remaining pages.
   * @param {AbortSignal} signal
   */
  async rest(signal) {
    while (this.hasMore) await this.more(signal)
  }

  /**
   * Request the lists of entries that have rows of their own, since such a row names its list.
   * @param {Task[]} tasks
   */
  async #nameLists(tasks) {
    if (this.#filter.rule.isFolded) return
    const lists = new Set(tasks.flatMap(({ playlist_id = "" }) => playlist_id || []))
    const unknown = [...lists].filter((id) => !this.#tasks.has(id))
    // After an error, the next page requests them again.
    if (unknown.length) this.#tasks.mergeAll(await this.#source.named(unknown, {}).catch(() => []))
  }

  /**
   * Add a page: the list is loaded down to its last task.
   * @param {import("./pages.js").Page} page
   */
  reached({ tasks, next_cursor }) {
    this.#cursor = next_cursor
    this.#list.reach(tasks, next_cursor !== undefined)
  }

  /** Empty the list. */
  clear() {
    this.reached({ tasks: [] })
    this.#list.reset(this.#filter.rule, [])
  }
}

// Compares the list with the server: after a gap in the feed, when the feed was silent for long, and for
// tasks of which only the server can say whether they match a search.

/** ms until the answer to a check must begin; otherwise the connection counts as dead. */
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
   * @param {import("../tasks/tasks.js").Tasks} tasks
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
   * Bring the first page, the rows in sight and running tasks up to date. Return whether there was any news.
   * @param {AbortSignal} signal
   */
  async look(signal) {
    const [before, how] = [[...this.#list.tasks], { signal, patience: PATIENCE_MS }]
    const page = await this.#source.page({ limit: FIRST_PAGE }, how)
    const seen = [...idsOf(before.filter(isRunning)), ...this.#inSight()]
    return this.#compare(before, page, seen, how)
  }

  /**
   * Bring all shown tasks up to date, and all that have not ended.
   * @param {AbortSignal} signal
   */
  async deep(signal) {
    await this.look(signal) // the rows in sight come first
    const before = [...this.#list.tasks]
    const edge = this.#list.edge ?? this.#list.order.last(before)
    const page = await this.#source.pages(this.#reaches(edge), { signal })
    this.#pages.reached(page)
    await this.#compare(before, page, idsOf([...before, ...this.#tasks.unfinished]), { signal })
  }

  /**
   * Ask the server which of the doubtful tasks match the rule: it lists only these.
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
   * Take in the listed tasks, and request missing ones by id: they match no more, or were removed.
   * @param {Task[]} before what was shown when the server was asked
   * @param {Page} page
   * @param {string[]} known ids to ask for unless they were listed
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
   * Return a function that tells whether a listing down to `last` includes this task.
   * @param {Task | undefined} task undefined: any listing is enough
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
