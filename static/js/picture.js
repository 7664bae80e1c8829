// @ts-check
// The picture of a row: asked for once the server has one, and when the row comes near. Until then its place is
// held by the first letter of the site. Where there is something to play, it is the button for that.

import { setText } from "./dom.js"
import { webLink } from "./task.js"

export class Picture {
  #image
  #letter
  #play

  /** @param {Record<string, any>} parts  of a row */
  constructor({ thumbnail, letter, play }) {
    this.#image = /** @type {HTMLImageElement} */ (thumbnail)
    this.#letter = /** @type {HTMLElement} */ (letter)
    this.#play = /** @type {HTMLElement} */ (play)
    this.#image.addEventListener("error", () => (this.#image.hidden = true))
  }

  /**
   * @param {import("./task.js").Task} task
   * @param {boolean} isPlayable
   * @param {string} host
   */
  show(task, isPlayable, host) {
    setText(this.#letter, (host[0] ?? "").toUpperCase())
    this.#play.hidden = !isPlayable
    const link = webLink(task.thumbnail)?.href ?? ""
    if (link === (this.#image.getAttribute("src") ?? "")) return
    this.#image.hidden = !link
    if (link) this.#image.src = link
    else this.#image.removeAttribute("src")
  }
}
