// @ts-check
// The line along the lower edge of a row: how far its task is.

import { setAttribute } from "./dom.js"
import { percentOf } from "./facts.js"

export class Progress {
  #bar
  #fill

  /** @param {Record<string, any>} parts  of a row */
  constructor({ bar, fill }) {
    this.#bar = /** @type {HTMLElement} */ (bar)
    this.#fill = /** @type {HTMLElement} */ (fill)
  }

  /** @param {import("./task.js").Task} task */
  show(task) {
    const percent = percentOf(task)
    this.#bar.hidden = percent === undefined
    if (percent === undefined) return
    setAttribute(this.#bar, "aria-valuenow", String(percent))
    const transform = `scaleX(${percent / 100})`
    if (this.#fill.style.transform !== transform) this.#fill.style.transform = transform
  }
}
