// @ts-check
// The one menu of the page; it opens under a button or at a point.

import { byId, fromTemplate, isSeen, setText } from "../base/dom.js"

/** @typedef {{name: string, text: string, icon?: string}} Item */
/** @typedef {{x: number, y: number}} Point */

const EDGE_PX = 8

export class Menu {
  #element = byId("menu-items", HTMLElement)
  #i18n
  /** @type {HTMLElement | null} */
  #owner = null
  /** @type {(name: string) => void} */
  #chosen = () => {}

  /** @param {import("../base/i18n.js").I18n} i18n */
  constructor(i18n) {
    this.#i18n = i18n
    this.#element.addEventListener("click", ({ target }) => this.#choose(/** @type {Element} */ (target)))
    this.#element.addEventListener("keydown", (event) => this.#pressed(event))
    this.#element.addEventListener("toggle", () => this.#toggled())
  }

  get isOpen() {
    return this.#element.matches(":popover-open")
  }

  /**
   * @param {HTMLElement} owner  the button that it belongs to, which has the focus afterwards
   * @param {Item[]} items
   * @param {(name: string) => void} then
   * @param {Point} [at]  else under its button
   */
  open(owner, items, then, at) {
    this.#owner = owner
    this.#chosen = then
    this.#element.replaceChildren(...items.map((item) => this.#item(item)))
    this.#element.setAttribute("aria-label", owner.ariaLabel ?? owner.textContent ?? "")
    this.#element.showPopover()
    this.#place(at ?? belowOf(owner), owner.getBoundingClientRect().top)
    this.#buttons[0]?.focus()
  }

  close() {
    if (this.isOpen) this.#element.hidePopover()
  }

  get #buttons() {
    return /** @type {HTMLElement[]} */ ([...this.#element.children])
  }

  /** @param {Item} item */
  #item({ name, text, icon = name }) {
    const { element, parts } = fromTemplate("menu-item", this.#i18n)
    element.dataset.name = name
    parts.icon.setAttribute("href", `#i-${icon}`)
    setText(parts.words, text)
    return element
  }

  /**
   * Place the menu within the window: below the point, or above it if there is no room.
   * @param {Point} point
   * @param {number} top of the button
   */
  #place({ x, y }, top) {
    const { width, height } = this.#element.getBoundingClientRect()
    const left = Math.max(EDGE_PX, Math.min(x, document.documentElement.clientWidth - width - EDGE_PX))
    const fits = y + height + EDGE_PX <= innerHeight
    const above = Math.max(EDGE_PX, Math.min(top, y) - height)
    Object.assign(this.#element.style, { left: `${left}px`, top: `${fits ? y : above}px` })
  }

  /** @param {Element} target */
  #choose(target) {
    const name = target.closest("[data-name]")?.getAttribute("data-name")
    if (!name) return
    this.#giveBack()
    this.#chosen(name)
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    const [buttons, at] = [this.#buttons, this.#buttons.indexOf(/** @type {HTMLElement} */ (event.target))]
    const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key]
    if (event.key === "Tab" || event.key === "Escape") {
      this.#giveBack()
    } else if (next !== undefined) buttons.at(next % buttons.length)?.focus()
    else return
    event.preventDefault()
    event.stopPropagation()
  }

  /** Close the menu, and focus its button, or the row if the button is hidden by now. */
  #giveBack() {
    this.close()
    const owner = this.#owner
    /** @type {HTMLElement | null | undefined} */
    const heir = owner && !isSeen(owner) ? owner.parentElement?.closest("[tabindex]") : owner
    heir?.focus({ preventScroll: true })
  }

  #toggled() {
    this.#owner?.setAttribute("aria-expanded", String(this.isOpen))
  }
}

/** @param {HTMLElement} owner */
function belowOf(owner) {
  const { right, bottom } = owner.getBoundingClientRect()
  return { x: right - 240, y: bottom + 4 }
}
