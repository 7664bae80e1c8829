// @ts-check
// The bar below a list with ticked rows: buttons for actions on them, and a question before an action that
// needs one.

import { arrange, setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"

/** @typedef {{name: string, text: string, press: () => unknown}} Act */

export class TickedBar {
  element
  #view
  #count = make("span")
  /**
   * The buttons by the names of their actions. They are never made anew: one may be about to be pressed.
   * @type {Map<string, HTMLElement>}
   */
  #buttons = new Map()
  /** Whether the bar shows a question, which stays when the list changes. */
  isAsking = false

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   * @param {string} label
   */
  constructor(view, label) {
    this.#view = view
    this.element = make("div", {
      className: "follow-bar",
      role: "toolbar",
      hidden: true,
      "aria-label": label,
    })
  }

  /**
   * @param {number} n  how many are ticked
   * @param {Act[]} acts  what can be done with them
   */
  show(n, acts) {
    this.isAsking = false
    setText(this.#count, this.#view.i18n.t("selected.count", { n }))
    const buttons = acts.map(({ name, text, press }) => {
      const made = this.#buttons.get(name) ?? button("", () => {})
      this.#buttons.set(name, made)
      setText(made, text)
      made.onclick = press
      return made
    })
    this.#view.keepFocus(() => {
      this.element.hidden = !n
      arrange(this.element, [this.#count, ...buttons])
    })
  }

  /**
   * Show a question before an action.
   * @param {Act} act
   * @param {string} question
   * @param {() => void} back shows the bar as it was
   * @param {HTMLElement} [choice] what is to be chosen for it
   */
  ask({ name, text, press }, question, back, choice) {
    const no = button(this.#view.i18n.t("follow.cancel"), () => {
      back()
      this.#buttons.get(name)?.focus()
    })
    this.isAsking = true
    this.element.replaceChildren(
      make("span", { role: "status" }, question),
      ...(choice ? [choice] : []),
      button(text, press),
      no,
    )
    ;(choice ?? no).focus()
  }
}
