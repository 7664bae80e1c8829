// @ts-check
// What stands in the list for rows that are not in the document: as high as they are, with their titles, so
// that the browser finds a title in them and scrolls there. Whoever listens is told by the rows how many there are.

import { titleOf } from "./task.js"

/** @typedef {import("./plan.js").Gap} Gap */

/** Text is dear to lay out, and while somebody scrolls it changes all the time. */
const WRITE_MS = 500

export class Gaps {
  /** @type {Map<string, HTMLElement>} */
  #elements = new Map()
  /** @type {[element: HTMLElement, gap: Gap][]} */
  #shown = []
  #tasks
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** @param {() => readonly import("./task.js").Task[]} tasks  of the list */
  constructor(tasks) {
    this.#tasks = tasks
  }

  /**
   * The elements for these gaps.
   * @param {Gap[]} gaps
   */
  show(gaps) {
    /** @type {Map<string, HTMLElement>} */
    const elements = new Map()
    this.#shown = gaps.map((gap) => {
      const name = elements.has(gap.name) ? `${gap.name}'` : gap.name // there is a row in the middle of it
      const element = this.#elements.get(name) ?? newGap()
      elements.set(name, element)
      setHeight(element, gap.height)
      return [element, gap]
    })
    this.#elements = elements
    this.#timer ??= setTimeout(() => this.#write(), WRITE_MS)
    return this.#shown.map(([element]) => element)
  }

  #write() {
    this.#timer = undefined
    const tasks = this.#tasks()
    for (const [element, { from, to, height }] of this.#shown) {
      const titles = tasks.slice(from, to).map((task) => titleOf(task).replaceAll("\n", " "))
      const text = titles.join("\n")
      if (element.textContent === text) continue
      element.textContent = text
      element.style.lineHeight = `${height / titles.length}px` // each title about where its row would be
    }
  }
}

function newGap() {
  const element = document.createElement("li")
  element.className = "gap"
  element.ariaHidden = "true"
  return element
}

/**
 * @param {HTMLElement} element
 * @param {number} height
 */
function setHeight(element, height) {
  const text = `${height}px`
  if (element.style.height !== text) element.style.height = text
}
