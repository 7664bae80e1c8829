// @ts-check
// The line along the lower edge of a row: how much is there, or only that something comes.

import { setAttribute } from "./dom.js"
import { shareOf } from "./facts.js"

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
    const [bar, share] = [this.#bar, shareOf(task)]
    bar.hidden = share === undefined
    if (share === undefined) return
    bar.toggleAttribute("data-unknown", share === null)
    if (share === null) bar.removeAttribute("aria-valuenow")
    else setAttribute(bar, "aria-valuenow", String(Math.floor(share * 100)))
    const transform = share === null ? "" : `scaleX(${share.toFixed(4)})`
    if (this.#fill.style.transform !== transform) this.#fill.style.transform = transform
  }
}
