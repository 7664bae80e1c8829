// @ts-check
// Carries out what the reader asks for on a row, whichever way: by a button, from the menu, by a key.

import { ACTIONS, iconOf, menuOf, ofKey, textOf } from "./actions.js"
import { fetched } from "./api.js"

/** @typedef {import("./task.js").Task} Task */
/** @typedef {import("./row.js").Row} Row */
/** @typedef {import("./menu.js").Point} Point */

export class RowActions {
  #parts
  /** What the page does itself. @type {Record<string, (row: Row, at?: Point) => unknown>} */
  #own = {
    "remedy.use_cookies": async (row) => (await this.#remedies()).useCookies(row),
    choose: async (row) => (await this.#remedies()).choose(row),
    cancel: (row) => this.#cancel(row),
    copy: ({ task }) => this.#copy(task),
    delete: (row) => this.#delete(row),
    log: async (row) => (await this.#parts.opened.open(row))?.openLog(),
    more: (row, at) => this.#more(row, at),
    open: (row) => this.#parts.opened.toggle(row),
    play: ({ task }) => this.#parts.play(task),
    retry_entries: ({ id }) => this.#parts.requests.runAll({ action: "retry", playlist_id: id }),
    save: (row) => row.save(),
    save_entries: (row) => row.save(),
    select: ({ id }) => this.#parts.selection.toggle(id),
    undo: (row) => this.#takeBack(row),
  }

  /**
   * @param {object} parts
   * @param {import("./requests.js").TaskRequests} parts.requests
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("./opened.js").OpenedRows} parts.opened
   * @param {import("./menu.js").Menu} parts.menu
   * @param {(task: Task) => Promise<void>} parts.play
   * @param {import("./news.js").Announcer} parts.announcer
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("./intake.js").Intake} parts.intake
   * @param {import("./settings.js").Settings} parts.settings
   * @param {import("./api.js").Api} parts.api
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    this.#parts = parts
  }

  /**
   * @param {string} name
   * @param {Row} row
   * @param {Point} [at]  of the pointer
   */
  async run(name, row, at) {
    const own = this.#own[name]
    if (own) await own(row, at)
    else if (name in ACTIONS) await this.#parts.requests.run(name, row.task)
  }

  /**
   * Do what the key does with this row; false: nothing.
   * @param {string} key
   * @param {Row} row
   */
  press(key, row) {
    const name = row.isLeaving ? (key === ACTIONS.undo.key ? "undo" : undefined) : ofKey(key, row.task)
    if (name) this.run(name, row)
    return name !== undefined
  }

  async #remedies() {
    const { Remedies } = await fetched(import("./remedies.js"), this.#parts.i18n)
    return new Remedies(this.#parts)
  }

  /** @param {Row} row */
  async #cancel(row) {
    if (!(await this.#parts.requests.run("cancel", row.task))) return
    this.#parts.undo.cancelled(row.id)
    if (row.hasFocus) row.focus("undo")
  }

  /** @param {Row} row */
  #delete(row) {
    this.#parts.opened.close(row.id, row)
    this.#parts.undo.delete(row.id)
    row.focus("undo")
  }

  /** @param {Row} row */
  async #takeBack(row) {
    row.focus("")
    await this.#parts.undo.takeBack(row.task)
  }

  /** @param {Task} task */
  async #copy(task) {
    await navigator.clipboard.writeText(task.url)
    this.#parts.announcer.say(this.#parts.i18n.t("announce.copied"))
  }

  /**
   * @param {Row} row
   * @param {Point} [at]
   */
  #more(row, at) {
    const items = menuOf(row.task).map((name) => ({
      name,
      text: textOf(name, row.task, this.#parts.i18n),
      icon: iconOf(name),
    }))
    this.#parts.menu.open(row.moreButton, items, (name) => this.run(name, row), at)
  }
}
