// @ts-check
// Where the focus goes when a change hides or removes the focused control.

import { isSeen } from "./dom.js"

/** The button that replaces a pressed one. @type {Record<string, string>} */
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
   * Make a change that may hide or replace the focused control. If the reader pressed that control, the one in its
   * place gets the focus; else the root gets it, so that no key presses a control that the reader did not choose.
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

/**
 * Make a change that may hide the focused control. Who goes by the keyboard is led to `heir` then; who uses a pointer
 * is not: a focus in the list would hold it.
 * @param {HTMLElement | undefined} heir
 * @param {() => void} change
 */
export function keepFocus(heir, change) {
  const focused = document.activeElement
  const isOfKeyboard = focused?.matches(":focus-visible") ?? false
  change()
  if (focused && isOfKeyboard && !isSeen(focused)) heir?.focus({ preventScroll: true })
}

/** @param {EventTarget | null} target */
function actionOf(target) {
  const button = target instanceof Element ? target.closest("[data-action]") : null
  return button?.getAttribute("data-action") ?? ""
}
