// @ts-check
// The log of a task, as it grows.

import { setText } from "./dom.js"
import { Problem } from "./problem.js"

const AGAIN_MS = 2_000

export class LogView {
  #parts
  #path
  #api
  #isOpen = false
  #isGrowing = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {Record<string, any>} parts
   * @param {string} id
   * @param {import("./api.js").Api} api
   */
  constructor(parts, id, api) {
    this.#parts = parts
    this.#path = `api/tasks/${id}/log`
    this.#api = api
    parts.log.addEventListener("toggle", () => this.#toggled())
    parts.copy.addEventListener("click", () => navigator.clipboard?.writeText(parts.text.textContent))
    parts.copy.hidden = !navigator.clipboard // browsers offer it over HTTPS only
    parts.reload.addEventListener("click", () => this.#load())
  }

  open() {
    this.#parts.log.open = true
  }

  /** @param {boolean} isGrowing  whether more is to come */
  follow(isGrowing) {
    if (this.#isGrowing === isGrowing) return
    this.#isGrowing = isGrowing
    if (this.#isOpen) this.#load() // also the last lines, when the task has ended
  }

  stop() {
    this.#isOpen = false
    clearTimeout(this.#timer)
  }

  #toggled() {
    this.#isOpen = this.#parts.log.open
    if (this.#isOpen) this.#load()
    else clearTimeout(this.#timer)
  }

  async #load() {
    clearTimeout(this.#timer)
    const log = await this.#api.text(this.#path).catch((error) => {
      if (error instanceof Problem) return error.message
      throw error
    })
    if (!this.#isOpen || !this.#parts.text.isConnected) return
    const { text } = this.#parts
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 4
    setText(text, log)
    text.toggleAttribute("data-empty", !log)
    if (isAtEnd) text.scrollTop = text.scrollHeight // follow the log: its last lines say what happened
    if (this.#isGrowing) this.#timer = setTimeout(() => this.#load(), AGAIN_MS)
  }
}
