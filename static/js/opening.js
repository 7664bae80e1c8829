// @ts-check
// Which rows are opened. One stays so wherever the reader scrolls, until it is closed or its task goes.

import { fetched } from "./problem.js"

/** @typedef {import("./row.js").Row} Row */
/** @typedef {import("./details.js").Details} Details */

export class Opening {
  #i18n
  #api
  #rows
  /** @type {Map<string, Details>} */
  #open = new Map()
  #observer

  /**
   * @param {import("./i18n.js").I18n} i18n
   * @param {import("./api.js").Api} api
   * @param {() => import("./rows.js").Rows} rows
   */
  constructor(i18n, api, rows) {
    this.#i18n = i18n
    this.#api = api
    this.#rows = rows
    this.#observer = new ResizeObserver((entries) => {
      for (const { target, borderBoxSize: [{ blockSize }] } of entries) {
        const id = target.getAttribute("data-of") ?? ""
        if (this.#open.has(id) && target.isConnected) rows().opened(id, Math.ceil(blockSize))
      }
    })
  }

  /** @param {string} id */
  has(id) {
    return this.#open.has(id)
  }

  /** @param {Row} row  that was made anew */
  attach(row) {
    const details = this.#open.get(row.id)
    if (details) {
      details.show(row.task)
      row.extend(details.element)
    }
    return row
  }

  /** @param {Row} row */
  async toggle(row) {
    if (this.#open.has(row.id)) this.close(row.id, row)
    else await this.open(row)
  }

  /**
   * Open a row; returns its details, or nothing if the row has gone meanwhile.
   * @param {Row} row
   * @returns {Promise<Details | undefined>}
   */
  async open({ id }) {
    const { Details } = await fetched(import("./details.js"), this.#i18n)
    const row = this.#rows().row(id)
    if (!row || this.#open.has(id)) return this.#open.get(id)
    const details = new Details(row.task, this.#i18n, this.#api)
    details.element.dataset.of = id
    this.#open.set(id, details)
    this.#observer.observe(details.element)
    row.extend(details.element)
    return details
  }

  /**
   * @param {string} id
   * @param {Row} [row]
   */
  close(id, row) {
    const details = this.#open.get(id)
    if (!details) return
    details.close()
    this.#observer.unobserve(details.element)
    this.#open.delete(id)
    row?.extend(null)
    this.#rows().opened(id, 0)
  }

  /** @param {import("./task.js").Task} task */
  changed(task) {
    this.#open.get(task.task_id)?.show(task)
  }

  /** Close all: the language has changed, or the session has ended. */
  clear() {
    for (const id of [...this.#open.keys()]) this.close(id, this.#rows().row(id))
  }
}
