// @ts-check
// Refused requests that concern no row: shown in a line over the page, for a while.

import { byId, setText } from "./dom.js"
import { Problem } from "./problem.js"

const SHOWN_MS = 10_000

export class Refusals {
  #line = byId("refused", HTMLElement)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** Shows each `Problem` that no other code has caught. */
  constructor() {
    addEventListener("unhandledrejection", (event) => {
      if (!(event.reason instanceof Problem)) return
      event.preventDefault()
      if (event.reason.status !== 401) this.#say(event.reason.message) // the log-in form shows a 401
    })
  }

  /** @param {string} text */
  #say(text) {
    clearTimeout(this.#timer)
    setText(this.#line, text)
    this.#timer = setTimeout(() => setText(this.#line, ""), SHOWN_MS)
  }
}
