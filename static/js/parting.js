// @ts-check
// What a row says after its task was deleted or cancelled: that it was, and how to take that back.

import { setText } from "./dom.js"

/** @typedef {"" | "deleted" | "undo" | "cancelled"} Parting  "undo": deleted, as long as that can be taken back */

export class PartingLine {
  #words
  #button
  #i18n

  /**
   * @param {Record<string, any>} parts  of a row
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor({ gone, undo }, i18n) {
    this.#words = /** @type {HTMLElement} */ (gone)
    this.#button = /** @type {HTMLElement} */ (undo)
    this.#i18n = i18n
  }

  /** @param {Parting} parting */
  show(parting) {
    const key = parting === "cancelled" ? "undo.cancelled" : "undo.deleted"
    setText(this.#words, parting ? this.#i18n.t(key) : "")
    this.#button.hidden = parting !== "undo" && parting !== "cancelled"
  }
}
