// @ts-check
// Where lists come from: `GET /api/tasks`, as the filter asks for it, or by name.

import { Problem } from "./api.js"

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{tasks: Task[], next_cursor?: string}} Page */
/** @typedef {{signal?: AbortSignal, patience?: number}} How */

/** Few tasks, so that the first page comes fast. */
export const FIRST_PAGE = 50
/** The most tasks that the server returns at once. */
export const LARGEST_PAGE = 200

export class Source {
  #api
  #filter
  /** The first page, asked for by `begin`, and for which rule. @type {{rule: object, page: Promise<Page>} | null} */
  #early = null

  /**
   * @param {import("./api.js").Api} api
   * @param {{rule: import("./filter.js").Rule}} filter
   */
  constructor(api, filter) {
    this.#api = api
    this.#filter = filter
  }

  /** Ask for the first page before anybody waits for it: while it is on its way, the parts of the page are made. */
  begin() {
    const page = this.page({ limit: FIRST_PAGE }, {})
    page.catch(() => {}) // whoever waits for it is told
    this.#early = { rule: this.#filter.rule, page }
  }

  /**
   * The first page.
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
   * @param {import("./api.js").Query} query
   * @param {How} how
   * @returns {Promise<Page>}
   */
  async page(query, how) {
    const { rule } = this.#filter
    /** @type {Page} */
    const page = await this.#api.get("api/tasks", { ...rule.query, ...query }, how)
    if (!page?.tasks?.every((task) => task?.task_id)) throw new Problem(0, {}) // somebody else has answered
    rule.found(page.tasks)
    return page
  }

  /**
   * The first pages as one, until they hold enough.
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
   * All entries of a list.
   * @param {string} id
   * @param {string} [q]  those that hold this text
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
   * Those of these tasks that still exist.
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

// How far down the list is loaded: page after page.

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
   * @param {import("./tasks.js").Tasks} tasks
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
   * The first page, in place of all that is shown.
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
    for (const task of this.#tasks.heard) this.#list.consider(task) // with what came meanwhile over the feed
    this.#tasks.flush()
    this.#nameLists(page.tasks)
  }

  /**
   * The next page that holds anything new: a task that has moved meanwhile may be on two.
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
   * Ask for the lists of entries that stand by themselves, since each names its list.
   * @param {Task[]} tasks
   */
  async #nameLists(tasks) {
    if (this.#filter.rule.isFolded) return
    const lists = new Set(tasks.flatMap(({ playlist_id = "" }) => playlist_id || []))
    const unknown = [...lists].filter((id) => !this.#tasks.has(id))
    if (unknown.length) this.#tasks.mergeAll(await this.#source.named(unknown, {}).catch(() => [])) // asked for again
  }

  /**
   * The list is loaded as far as this page goes.
   * @param {import("./pages.js").Page} page
   */
  reached({ tasks, next_cursor }) {
    this.#cursor = next_cursor
    this.#list.reach(tasks, next_cursor !== undefined)
  }

  /** Show nothing any more. */
  clear() {
    this.reached({ tasks: [] })
    this.#list.reset(this.#filter.rule, [])
  }
}
