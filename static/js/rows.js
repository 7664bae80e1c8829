// @ts-check
// The part of the list that is in the document: the rows in sight, some around them, and the one with the focus.

import { Anchor } from "./anchor.js"
import { arrange } from "./dom.js"
import { Gaps } from "./gaps.js"
import { Heights } from "./heights.js"
import { Held } from "./held.js"
import { plan } from "./plan.js"

/** How much is there beyond the window's edges, in heights of the window. */
const AHEAD = 0.75
const END_IS_NEAR = 2
/** Rows may turn out lower than they were guessed to be, and then more of them are in sight. */
const MOST_PASSES = 3

/** @typedef {import("./card.js").Card} Card */

/** Fires "end" when little is left to scroll. */
export class Rows extends EventTarget {
  #root
  #list
  #makeCard
  #anchor
  #gaps
  #heights = new Heights()
  /** @type {Map<string, Card>} */
  #cards = new Map()
  #held = new Held()
  #width = 0
  #space = 0
  #isScheduled = false

  /**
   * @param {HTMLElement} root
   * @param {import("./list.js").TaskList} list
   * @param {(task: import("./task.js").Task) => Card} makeCard
   */
  constructor(root, list, makeCard) {
    super()
    this.#root = root
    this.#list = list
    this.#makeCard = makeCard
    this.#anchor = new Anchor(root)
    this.#gaps = new Gaps(() => list.tasks)
    root.addEventListener("focusin", (event) => this.#focused(/** @type {Element} */ (event.target)))
    addEventListener("scroll", () => this.#soon(), { passive: true })
    const observer = new ResizeObserver(() => this.#soon())
    for (const element of [root, document.body]) observer.observe(element)
  }

  /** Of the rows that are in the document. */
  get ids() {
    return [...this.#cards.keys()]
  }

  /** @param {string} id */
  card(id) {
    return this.#cards.get(id)
  }

  /** Bring the document to what the list says. */
  render() {
    const hadFocus = this.#holdsFocus()
    this.#anchor.hold()
    this.#measureWidth()
    for (const [id, card] of this.#cards) card.update(this.#list.get(id) ?? card.task)
    for (let pass = 0; pass < MOST_PASSES && this.#place(); pass += 1);
    this.#anchor.restore(this.#list.moved)
    this.#list.moved.clear()
    if (hadFocus && !this.#holdsFocus()) (this.#cards.get(this.#held.id)?.element ?? this.#root).focus()
    if (this.#sight(END_IS_NEAR).bottom > this.#root.offsetHeight) this.dispatchEvent(new Event("end"))
  }

  /** Make all rows anew: the words have changed. */
  renew() {
    this.#cards.clear()
    this.#heights.clear()
    this.render()
  }

  #holdsFocus() {
    return this.#cards.get(this.#held.id)?.element.contains(document.activeElement) ?? false
  }

  /** @returns whether a row has another height than it was thought to have */
  #place() {
    const tasks = this.#list.tasks
    const heights = tasks.map((task) => this.#heights.of(task.task_id))
    const pieces = plan(heights, this.#space, this.#sight(AHEAD), this.#held.rows(this.#list))
    const gaps = this.#gaps.show(pieces.filter((piece) => typeof piece !== "number"))
    /** @type {Map<string, Card>} */
    const cards = new Map()
    let gap = 0
    const elements = pieces.map((piece) => {
      if (typeof piece !== "number") return gaps[gap++]
      const task = tasks[piece]
      const card = this.#cards.get(task.task_id) ?? this.#makeCard(task)
      cards.set(task.task_id, card)
      card.stand(piece + 1, this.#list.edge ? -1 : tasks.length)
      return card.element
    })
    this.#cards = cards
    arrange(this.#root, elements)
    return this.#heights.measured([...cards].map(([id, card]) => [id, card.height]))
  }

  /**
   * What can be seen, in heights from the top of the list.
   * @param {number} ahead
   */
  #sight(ahead) {
    const top = -this.#root.getBoundingClientRect().top
    return { top: top - ahead * innerHeight, bottom: top + (1 + ahead) * innerHeight }
  }

  #measureWidth() {
    if (this.#width === this.#root.clientWidth) return
    this.#width = this.#root.clientWidth
    this.#space = parseFloat(getComputedStyle(this.#root).rowGap) || 0
    this.#heights.clear()
  }

  /** @param {Element} target */
  #focused(target) {
    const id = target.closest(".card")?.getAttribute("data-id") ?? ""
    if (!id || id === this.#held.id) return
    this.#held.id = id
    this.render()
  }

  #soon() {
    if (this.#isScheduled) return
    this.#isScheduled = true
    requestAnimationFrame(() => {
      this.#isScheduled = false
      this.render()
    })
  }
}
