// @ts-check
// The small picture of a card. It is there some time after the title is known, or never.

import { isFinal } from "./task.js"

export class Thumbnail {
  #image
  #api
  #loaded = false
  /** When it was last asked for: once a stage is often enough. */
  #asked = ""

  /**
   * @param {HTMLImageElement} image
   * @param {import("./api.js").Api} api
   */
  constructor(image, api) {
    this.#image = image
    this.#api = api
    image.addEventListener("load", () => this.#show(true))
    image.addEventListener("error", () => this.#show(false))
  }

  /** @param {import("./task.js").Task} task */
  show(task) {
    const moment = `${task.attempt} ${isFinal(task) ? "final" : task.stage}`
    if (!task.video_info.title || this.#loaded || this.#asked === moment) return
    this.#asked = moment
    this.#image.src = this.#api.url(`api/tasks/${task.task_id}/thumbnail`, { at: moment }).href
  }

  /** @param {boolean} loaded */
  #show(loaded) {
    this.#loaded = loaded
    this.#image.toggleAttribute("data-loaded", loaded)
  }
}
