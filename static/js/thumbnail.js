// @ts-check
// The small picture of a card: asked for once the server has one, and when the card comes near.

import { webLink } from "./task.js"

export class Thumbnail {
  #image

  /** @param {HTMLImageElement} image */
  constructor(image) {
    this.#image = image
    image.addEventListener("error", () => (image.hidden = true))
  }

  /** @param {import("./task.js").Task} task */
  show(task) {
    const link = webLink(task.thumbnail)?.href ?? ""
    if (link === (this.#image.getAttribute("src") ?? "")) return
    this.#image.hidden = !link
    if (link) this.#image.src = link
    else this.#image.removeAttribute("src")
  }
}
