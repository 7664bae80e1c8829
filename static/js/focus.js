// @ts-check
// Where the keyboard is when a change takes the focused control away.

import { isSeen } from "./dom.js"

/** The button that stands in the place of one that was pressed. @type {Record<string, string>} */
const SUCCESSORS = { pause: "resume", resume: "pause" }

export class Focus {
  #root
  #pressed = ""

  /** @param {HTMLElement} root  can be focused itself, and has buttons with a data-action */
  constructor(root) {
    this.#root = root
    root.addEventListener("click", ({ target }) => (this.#pressed = actionOf(target)))
  }

  /**
   * Do what may hide or replace the focused control. The one in its place has the focus if the reader pressed
   * it; otherwise nobody can have meant to press anything here: then it is on the whole, not on another control.
   * @param {() => void} change
   */
  keep(change) {
    const focused = this.#root.contains(document.activeElement) ? document.activeElement : null
    change()
    if (!focused || (focused.isConnected && isSeen(focused))) return
    const action = actionOf(focused)
    const successor = this.#pressed === action ? this.#button(SUCCESSORS[action]) : null
    this.#pressed = ""
    const heir = successor && isSeen(successor) ? successor : this.#root
    heir.focus({ preventScroll: true })
  }

  /**
   * @param {string} action
   * @returns {HTMLElement | null}
   */
  #button(action) {
    return this.#root.querySelector(`[data-action="${action}"]`)
  }
}

/** @param {EventTarget | null} target */
function actionOf(target) {
  const button = target instanceof Element ? target.closest("[data-action]") : null
  return button?.getAttribute("data-action") ?? ""
}
