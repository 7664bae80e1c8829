// @ts-check
// The reader's choice of what is shown.

import { Rule } from "./rule.js"

const SEARCH_PAUSE_MS = 250

/** Fires "change". */
export class Filter extends EventTarget {
  rule = new Rule()
  #text = ""

  /** @param {HTMLFormElement} form */
  constructor(form) {
    super()
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let pause
    form.addEventListener("submit", (event) => event.preventDefault())
    form.addEventListener("input", () => {
      clearTimeout(pause)
      const data = new FormData(form)
      const typing = this.#text !== String(data.get("q")).trim()
      pause = setTimeout(() => this.#read(data), typing ? SEARCH_PAUSE_MS : 0)
    })
  }

  /** @param {FormData} data */
  #read(data) {
    this.#text = String(data.get("q")).trim()
    this.rule = new Rule(String(data.get("show")), this.#text)
    this.dispatchEvent(new Event("change"))
  }
}
