// @ts-check
// The choice among the entries of a list.

import { byId, fromTemplate, setText } from "./dom.js"
import { Problem } from "./problem.js"

const PATIENCE_MS = 50_000

/** @typedef {import("./preview.js").Entry} Entry */

export class EntriesDialog {
  #dialog = byId("entries", HTMLDialogElement)
  #api
  #i18n
  #has
  /** @type {HTMLInputElement[]} */
  #ticks = []
  /** The last one that was clicked: shift goes from there. */
  #last = 0
  /** @type {(items: string) => void} */
  #chosen = () => {}

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   * @param {(url: string) => boolean} has  whether a finished task has this link
   */
  constructor(api, i18n, has) {
    this.#api = api
    this.#i18n = i18n
    this.#has = has
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#part("list").addEventListener("click", (event) => this.#ticked(event))
    this.#part("all").addEventListener("click", () => this.#toggleAll())
    this.#part("go").addEventListener("click", () => this.#go())
  }

  /**
   * @param {string} url
   * @param {(items: string) => void} then  is told the entries as `playlist_items`
   */
  async open(url, then) {
    this.#chosen = then
    this.#ticks = []
    this.#part("list").replaceChildren()
    setText(this.#part("title"), url)
    setText(this.#part("state"), this.#i18n.t("entries.looking"))
    this.#count()
    this.#dialog.showModal()
    try {
      const info = await this.#api.send("POST", "api/info", { url }, {}, { patience: PATIENCE_MS })
      this.#show(info)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      setText(this.#part("state"), error.message)
    }
  }

  /** @param {import("./preview.js").Info} info */
  #show({ title = "", entries = [], total_entries }) {
    setText(this.#part("title"), title)
    setText(this.#part("state"), this.#i18n.t("preview.entries", { n: total_entries ?? entries.length }))
    const rows = entries.map((entry, at) => this.#row(entry, at))
    this.#part("list").replaceChildren(...rows)
    this.#ticks = rows.map((row) => /** @type {HTMLInputElement} */ (row.querySelector("input")))
    this.#count()
  }

  /**
   * @param {Entry} entry
   * @param {number} at
   */
  #row({ index, title, url, duration }, at) {
    const place = String(index ?? at + 1)
    const { element, parts } = fromTemplate("entry", this.#i18n)
    const isHere = Boolean(url && this.#has(url))
    const tick = /** @type {HTMLInputElement} */ (element.querySelector("input"))
    tick.value = place
    tick.checked = !isHere
    tick.dataset.at = String(at)
    parts.have.hidden = !isHere
    setText(parts.place, place)
    setText(parts.name, title ?? url ?? "")
    setText(parts.length, duration ? this.#i18n.format.clock(duration) : "")
    return element
  }

  /** @param {MouseEvent} event */
  #ticked({ target, shiftKey }) {
    if (!(target instanceof HTMLInputElement)) return
    const at = Number(target.dataset.at)
    const [from, to] = [Math.min(at, this.#last), Math.max(at, this.#last)]
    if (shiftKey) {
      for (let other = from; other <= to; other += 1) {
        this.#ticks[other].checked = target.checked
      }
    }
    this.#last = at
    this.#count()
  }

  #toggleAll() {
    const isChecked = !this.#ticks.every((tick) => tick.checked)
    for (const tick of this.#ticks) tick.checked = isChecked
    this.#count()
  }

  #count() {
    const button = /** @type {HTMLButtonElement} */ (this.#part("go"))
    const n = this.#ticks.filter((tick) => tick.checked).length
    setText(button, this.#i18n.t("submit.go_many", { n }))
    button.disabled = n === 0
  }

  #go() {
    this.#dialog.close()
    this.#chosen(ranges(this.#ticks.filter((tick) => tick.checked).map((tick) => Number(tick.value))))
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#dialog.querySelector(`[data-part=${name}]`))
  }
}

/**
 * "1-3,7" of 1, 2, 3 and 7.
 * @param {number[]} numbers  in order
 */
export function ranges(numbers) {
  /** @type {[number, number][]} */
  const found = []
  for (const number of numbers) {
    const last = found.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else found.push([number, number])
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",")
}
