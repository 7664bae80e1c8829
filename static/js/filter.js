// @ts-check
// The reader's choice of what is shown, and in which order. It stands in the page's address, so it outlasts a reload.

import { CHOICES, Rule } from "./rule.js"
import { SORTS } from "./sections.js"

const SEARCH_PAUSE_MS = 250

/** Fires "change". */
export class Filter extends EventTarget {
  rule = new Rule()
  #form
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause

  /** @param {HTMLFormElement} form */
  constructor(form) {
    super()
    this.#form = form
    this.#restore(new URLSearchParams(location.search))
    form.addEventListener("submit", (event) => event.preventDefault())
    form.addEventListener("input", () => {
      clearTimeout(this.#pause)
      const isTyping = this.#text !== this.rule.text
      this.#pause = setTimeout(() => this.#read(), isTyping ? SEARCH_PAUSE_MS : 0)
    })
  }

  /** Show everything again. */
  clear() {
    this.#restore(new URLSearchParams())
    this.#read()
  }

  get #text() {
    return String(new FormData(this.#form).get("q")).trim()
  }

  /** @param {URLSearchParams} query */
  #restore(query) {
    const [show, sort] = [query.get("show") ?? "", query.get("sort") ?? ""]
    const field = (/** @type {string} */ name) => /** @type {any} */ (this.#form.elements.namedItem(name))
    field("show").value = show in CHOICES ? show : "all"
    field("sort").value = SORTS.includes(sort) ? sort : SORTS[0]
    field("q").value = query.get("q") ?? ""
    this.#choose()
  }

  #choose() {
    const data = new FormData(this.#form)
    this.rule = new Rule(String(data.get("show")), this.#text, String(data.get("sort")))
  }

  #read() {
    this.#choose()
    const url = new URL(location.href)
    for (const [name, value] of Object.entries(this.rule.address)) {
      if (value) url.searchParams.set(name, value)
      else url.searchParams.delete(name)
    }
    history.replaceState(null, "", url)
    this.dispatchEvent(new Event("change"))
  }
}
