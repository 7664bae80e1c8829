// @ts-check
// The box for links: each becomes a task; one that the server refuses stays, with the reason.

import { Problem } from "./problem.js"
import { linksIn } from "./links.js"

const MOST_ROWS = 12
/** The link itself was refused; after any other answer the next one would fare no better. */
const LINK_REFUSED = [400, 413, 422]

/** Fires "task" with a payload in `detail`, and "done" with how many were taken and how many stayed. */
export class Submit extends EventTarget {
  #form
  #box
  #problems
  #options
  #api
  #i18n
  /** Until its answer is here, a link sent again with the same choices is the same task. @type {Map<string, string>} */
  #keys = new Map()

  /**
   * @param {HTMLFormElement} form
   * @param {import("./options.js").Options} options
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(form, options, api, i18n) {
    super()
    this.#form = form
    this.#box = /** @type {HTMLTextAreaElement} */ (form.querySelector("textarea"))
    this.#problems = /** @type {HTMLElement} */ (form.querySelector("[data-part=problems]"))
    this.#options = options
    this.#api = api
    this.#i18n = i18n
    form.addEventListener("submit", (event) => this.#submitted(event))
    this.#box.addEventListener("input", () => this.#fit())
    this.#box.addEventListener("keydown", (event) => this.#pressed(event))
  }

  /** @param {string} text */
  fill(text) {
    this.#box.value = text
    this.#fit()
  }

  focus() {
    this.#box.focus()
  }

  /** @param {SubmitEvent} event */
  async #submitted(event) {
    event.preventDefault()
    const lines = linksIn(this.#box.value)
    if (!lines.length || this.#form.ariaBusy === "true") return this.#box.focus()
    if (!this.#options.request.outputs.length) {
      this.#complain([["", this.#i18n.t("problem.outputs")]])
      return this.#options.askForOutputs()
    }
    this.#busy(true)
    const { refused, rest } = await this.#sendAll(lines).finally(() => this.#busy(false))
    this.fill([...refused.map(([line]) => line), ...rest].join("\n"))
    this.#complain(refused)
    const detail = {
      taken: lines.length - refused.length - rest.length,
      refused: refused.length + rest.length,
    }
    this.dispatchEvent(new CustomEvent("done", { detail }))
    if (this.#form.contains(document.activeElement)) this.#box.focus() // the reader may be elsewhere by now
  }

  /**
   * One after the other, so that the queue has their order.
   * @param {string[]} lines
   * @returns {Promise<{refused: [string, string][], rest: string[]}>} `rest` was not tried
   */
  async #sendAll(lines) {
    /** @type {[string, string][]} */
    const refused = []
    for (const [index, line] of lines.entries()) {
      const problem = await this.#send(line)
      if (problem) refused.push([line, problem.message])
      if (problem && !LINK_REFUSED.includes(problem.status)) return { refused, rest: lines.slice(index + 1) }
    }
    return { refused, rest: [] }
  }

  /** @param {string} url */
  async #send(url) {
    const request = { url, ...this.#options.request }
    const sameness = JSON.stringify(request)
    const key = this.#keys.get(sameness) ?? randomKey()
    this.#keys.set(sameness, key)
    try {
      const detail = await this.#api.send("POST", "api/process", request, { "Idempotency-Key": key })
      this.#keys.delete(sameness)
      this.dispatchEvent(new CustomEvent("task", { detail }))
    } catch (error) {
      if (error instanceof Problem) return error
      throw error
    }
  }

  /** @param {[string, string][]} refused  link, reason */
  #complain(refused) {
    const rows = refused.map(([line, reason]) => {
      const row = document.createElement("li")
      row.append(
        Object.assign(document.createElement("span"), { className: "line", textContent: line }),
        reason,
      )
      return row
    })
    this.#problems.replaceChildren(...rows)
    this.#box.ariaInvalid = String(refused.length > 0)
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return // Enter also ends a word in an IME
    event.preventDefault()
    this.#form.requestSubmit()
  }

  /** @param {boolean} busy */
  #busy(busy) {
    this.#form.ariaBusy = String(busy)
    this.#box.readOnly = busy // what would be typed now would be lost with the answer
  }

  #fit() {
    this.#box.rows = Math.min(this.#box.value.split("\n").length, MOST_ROWS)
  }
}

/** `crypto.randomUUID` is missing where the page is read over plain http from another machine. */
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-")
