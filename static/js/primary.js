// @ts-check
// The first thing to do with a task, as a button or a link of its row.

import { primaryOf } from "./choices.js"
import { fromTemplate, setText } from "./dom.js"
import { kindsOf, saveLink } from "./files.js"

/** @typedef {import("./task.js").Task} Task */

/** A control that appears this soon after a press is what the reader expects. */
const FOLLOWS_MS = 2_000

export class Primary {
  #slot
  #i18n
  #shown = ""
  #pressedAt = -FOLLOWS_MS

  /**
   * @param {HTMLElement} slot
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(slot, i18n) {
    this.#slot = slot
    this.#i18n = i18n
    slot.addEventListener("click", () => (this.#pressedAt = performance.now()))
  }

  /** @param {Task} task */
  show(task) {
    const name = primaryOf(task)
    const [kind] = name === "save" ? kindsOf(task) : []
    const shown = [name, task.files[kind] ?? "", kind].join(" ")
    if (shown === this.#shown) return // leave the focus of the reader on the control
    this.#shown = shown
    const control = name && (kind ? saveLink(task, kind, this.#i18n) : this.#button(name))
    const isExpected = performance.now() - this.#pressedAt < FOLLOWS_MS
    // Somebody may be about to press what stood here: see listening.js.
    if (control && !isExpected && this.#slot.matches(":hover")) {
      control.dataset.born = String(performance.now())
    }
    this.#slot.replaceChildren(...(control ? [control] : []))
  }

  /** @param {string} name */
  #button(name) {
    const { element, parts } = fromTemplate("action", this.#i18n)
    element.dataset.action = name
    parts.icon.setAttribute("href", `#i-${name.split(".")[0]}`)
    setText(parts.words, this.#i18n.t(`action.${name}`))
    return element
  }
}
