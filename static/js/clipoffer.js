// @ts-check
// The button beside the times of a clip: opens the player if the film whose link is in the box can be played here.

import { byId, on } from "./dom.js"
import { isClippable } from "./files.js"

export class ClipOffer {
  #button = byId("clip-player", HTMLButtonElement)
  #tasks
  /** Links of the film in the box. @type {string[]} */
  #links = []

  /**
   * @param {object} parts
   * @param {import("./intake.js").Intake} parts.intake
   * @param {import("./tasks.js").Tasks} parts.tasks
   * @param {import("./dialogs.js").PlayerDialog} parts.player
   */
  constructor({ intake: { preview }, tasks, player }) {
    this.#tasks = tasks
    this.#button.addEventListener("click", () => this.#task && player.open(this.#task, true))
    on(preview, "info", (info) => {
      this.#links = [preview.link, info?.webpage_url].filter(Boolean)
      this.#show()
    })
    on(tasks, "change", () => this.#show())
    on(tasks, "removed", () => this.#show())
  }

  get #task() {
    return this.#tasks.find(this.#links, isClippable)
  }

  #show() {
    this.#button.hidden = !this.#task
  }
}
