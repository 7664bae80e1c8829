// @ts-check
// Where lists come from: `GET /api/tasks`, as the filter asks for it, or by name.

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
   * @param {{rule: import("./rule.js").Rule}} filter
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
