// @ts-check
// Which rows are opened. A row stays opened wherever the reader scrolls, until it is closed or its task is
// gone. Below an opened list are its entries.

import { fetched } from "../base/api.js"

/** @typedef {import("./row.js").Row} Row */
/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("./details.js").Details} Details */

export class OpenedRows {
  #parts
  /** @type {Map<string, Details>} */
  #open = new Map()
  /** Watches the heights of whole rows: a long message of failure makes the line itself higher. */
  #observer
  /**
   * The number of entries that a list had when they were last requested, by its id.
   * @type {Map<string, number>}
   */
  #asked = new Map()

  /**
   * @param {object} parts
   * @param {import("../base/i18n.js").I18n} parts.i18n
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {import("../list/shown.js").ShownList} parts.shown
   * @param {import("../list/pages.js").Source} parts.source
   * @param {() => import("../list/rows.js").Rows} parts.rows
   */
  constructor(parts) {
    this.#parts = parts
    this.#observer = new ResizeObserver((entries) => {
      for (const { target, borderBoxSize: [{ blockSize }] } of entries) {
        const id = target.getAttribute("data-id") ?? ""
        if (!this.#open.has(id) || !target.isConnected) continue
        parts.rows().opened(id, Math.ceil(blockSize - heightOfClosed(target)))
      }
    })
  }

  /** @param {string} id */
  has(id) {
    return this.#open.has(id)
  }

  /**
   * Return the known entries of a list in their order; in a search, only those that were found.
   * @param {string} id
   */
  entriesOf(id) {
    const entries = this.#parts.tasks.entriesOf(id)
    return this.#open.get(id)?.foundOf(entries) ?? entries
  }

  /** @param {Row} row  that was made anew */
  attach(row) {
    const details = this.#open.get(row.id)
    if (details) {
      details.show(row.task)
      this.#extend(row, details)
    }
    return row
  }

  /** @param {Row} row */
  async toggle(row) {
    if (this.#open.has(row.id)) this.close(row.id, row)
    else await this.open(row)
  }

  /**
   * Open a row; return its details, or nothing if the row is gone meanwhile.
   * @param {Row} row
   * @returns {Promise<Details | undefined>}
   */
  async open({ id }) {
    const { rows, i18n } = this.#parts
    const { Details } = await fetched(import("./details.js"), i18n)
    const row = rows().row(id)
    if (!row || this.#open.has(id)) return this.#open.get(id)
    const details = new Details(row.task, this.#parts)
    this.#open.set(id, details)
    this.#extend(row, details)
    if (row.task.entries) this.#unfold(row.task)
    return details
  }

  /**
   * @param {string} id
   * @param {Row} [row]
   */
  close(id, row) {
    const details = this.#open.get(id)
    if (!details) return
    const { shown, rows } = this.#parts
    details.close()
    this.#open.delete(id)
    if (row) this.#observer.unobserve(row.element)
    row?.extend(null)
    rows().opened(id, 0)
    if (shown.hasOpen(id)) rows().render(() => shown.fold(id))
  }

  /** @param {Task} task */
  changed(task) {
    const details = this.#open.get(task.task_id)
    details?.show(task)
    if (details && this.#parts.shown.hasOpen(task.task_id)) this.#load(task)
  }

  /**
   * @param {Row} row
   * @param {Details} details
   */
  #extend(row, details) {
    row.extend(details.element)
    this.#observer.observe(row.element)
  }

  /** Close all rows, because the language has changed or the session has ended. */
  clear() {
    for (const id of [...this.#open.keys()]) this.close(id, this.#parts.rows().row(id))
    this.#asked.clear()
  }

  /**
   * Show the entries of a list below it as soon as all of them are loaded. They are not shown page by page,
   * because the server sends the last entries first.
   * @param {Task} task
   */
  async #unfold(task) {
    const { shown, rows } = this.#parts
    await this.#load(task)
    if (this.#open.has(task.task_id)) rows().render(() => shown.unfold(task.task_id))
  }

  /**
   * Request the entries of a list that have not come yet.
   * @param {Task} task
   */
  async #load({ task_id, entries }) {
    const { source, tasks, shown, rows } = this.#parts
    const total = entries?.total ?? 0
    if (total <= Math.max(this.#asked.get(task_id) ?? 0, tasks.entriesOf(task_id).length)) return
    this.#asked.set(task_id, total)
    const found = await source.entries(task_id).catch((error) => {
      this.#asked.delete(task_id) // so that opening the row again repeats the request
      throw error
    })
    tasks.mergeAll(found)
    tasks.flush()
    if (shown.hasOpen(task_id)) rows().render(() => shown.unfold(task_id))
  }
}

/** @param {Element} row  whose line is at least as high as a row that is closed */
function heightOfClosed(row) {
  const line = row.querySelector(".line")
  return line ? parseFloat(getComputedStyle(line).minHeight) : 0
}
