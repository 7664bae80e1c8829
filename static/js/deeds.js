// @ts-check
// What the reader does with a row, whichever way it was asked for: by a button, from the menu, by a key.

import { menuOf, primaryOf } from "./choices.js"
import { isPlayable } from "./files.js"

/** @typedef {import("./task.js").Task} Task */
/** @typedef {import("./row.js").Row} Row */

/** Actions that only send a request to the server. */
const ASKED = ["pause", "resume", "retry", "again", "finish", "first", "last"]

export class Deeds {
  #actions
  #undo
  #opening
  #menu
  #player
  #announcer
  #remedies
  #selection
  #i18n

  /**
   * @param {object} parts
   * @param {import("./actions.js").Actions} parts.actions
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("./opening.js").Opening} parts.opening
   * @param {import("./menu.js").Menu} parts.menu
   * @param {import("./dialogs.js").PlayerDialog} parts.player
   * @param {import("./announcer.js").Announcer} parts.announcer
   * @param {() => Promise<import("./remedies.js").Remedies>} parts.remedies
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor({ actions, undo, opening, menu, player, announcer, remedies, selection, i18n }) {
    this.#actions = actions
    this.#undo = undo
    this.#opening = opening
    this.#menu = menu
    this.#player = player
    this.#announcer = announcer
    this.#remedies = remedies
    this.#selection = selection
    this.#i18n = i18n
  }

  /**
   * @param {string} name
   * @param {Row} row
   * @param {import("./menu.js").Point} [at]  of the pointer
   */
  async do(name, row, at) {
    const { task } = row
    if (name === "remedy.use_cookies") await (await this.#remedies()).useCookies(row)
    else if (ASKED.includes(name) || name.startsWith("remedy.")) await this.#actions.run(name, task)
    else if (name === "choose") await (await this.#remedies()).choose(row)
    else if (name === "select") this.#selection.toggle(row.id)
    else if (name === "save") row.save()
    else if (name === "open") await this.#opening.toggle(row)
    else if (name === "more") this.#more(row, at)
    else if (name === "play") this.#player.open(task)
    else if (name === "log") (await this.#opening.open(row))?.openLog()
    else if (name === "copy") await this.#copy(task)
    else if (name === "cancel") await this.#cancel(row)
    else if (name === "delete") this.#delete(row)
    else if (name === "undo") await this.#takeBack(row)
  }

  /**
   * Do the first of these that is possible.
   * @param {string[]} names
   * @param {Row} row
   */
  doFirst(names, row) {
    const { task } = row
    const possible = row.isParting ? ["undo"] : [primaryOf(task), ...menuOf(task), "open", "more"]
    if (isPlayable(task)) possible.push("play")
    const name = names.find((name) => possible.includes(name))
    if (name) this.do(name, row)
  }

  /** @param {Row} row */
  async #cancel(row) {
    if (!(await this.#actions.run("cancel", row.task))) return
    this.#undo.cancelled(row.id)
    if (row.hasFocus) row.focus("undo")
  }

  /** @param {Row} row */
  #delete(row) {
    this.#opening.close(row.id, row)
    this.#undo.delete(row.id)
    row.focus("undo")
  }

  /** @param {Row} row */
  async #takeBack(row) {
    row.focus("")
    await this.#undo.takeBack(row.task)
  }

  /** @param {Task} task */
  async #copy(task) {
    await navigator.clipboard.writeText(task.url)
    this.#announcer.say(this.#i18n.t("announce.copied"))
  }

  /**
   * @param {Row} row
   * @param {import("./menu.js").Point} [at]
   */
  #more(row, at) {
    const names = menuOf(row.task).filter((name) => name !== "copy" || navigator.clipboard)
    const items = names.map((name) => ({ name, text: this.#i18n.t(`action.${name}`) }))
    this.#menu.open(row.moreButton, items, (name) => this.do(name, row), at)
  }
}
