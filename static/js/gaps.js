// @ts-check
// Stand-ins in a section for rows that are not in the document: their titles, about where the rows would be, so that
// the browser's search finds a title and scrolls there. Screen readers do not see them: rows tell how many there are.

import { titleOf } from "./task.js"

/** @typedef {{from: number, to: number, top: number, height: number}} Gap */

/** Rows in one gap: a long stretch gets several gaps, so that a browser lays out only the text in sight. */
const GAP_ROWS = 50
/** Time between updates of the text: its layout is expensive, and while somebody scrolls it changes all the time. */
const WRITE_MS = 500
/** Gaps that are written in one go. */
const AT_ONCE = 200

/**
 * The stretches of a section whose rows are not in the document.
 * @param {import("./view.js").Section} section
 * @param {number[]} there  rows of the section that are in the document, in order
 */
export function stretches({ from, to }, there) {
  /** @type {[from: number, to: number][]} */
  const found = []
  let begin = from
  for (const end of [...there, to]) {
    for (; begin < end; begin = Math.min(end, (Math.floor(begin / GAP_ROWS) + 1) * GAP_ROWS)) {
      found.push([begin, Math.min(end, (Math.floor(begin / GAP_ROWS) + 1) * GAP_ROWS)])
    }
    begin = end + 1
  }
  return found
}

export class Gaps {
  /** @type {HTMLElement[]} */
  #elements = []
  /** @type {Gap[]} */
  #shown = []
  /** Which tasks an element names. @type {WeakMap<HTMLElement, string>} */
  #written = new WeakMap()
  #tasks
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** @param {() => readonly import("./task.js").Task[]} tasks  that are shown */
  constructor(tasks) {
    this.#tasks = tasks
  }

  /** The first row of each gap. */
  get starts() {
    return this.#shown.map(({ from }) => from)
  }

  /**
   * The elements for these gaps.
   * @param {Gap[]} gaps
   */
  show(gaps) {
    this.#shown = gaps
    while (this.#elements.length < gaps.length) this.#elements.push(newGap())
    this.#elements.length = gaps.length
    for (const [at, { top, height }] of gaps.entries()) place(this.#elements[at], top, height)
    this.#timer ??= setTimeout(() => this.#write(), WRITE_MS)
    return this.#elements
  }

  #write() {
    this.#timer = undefined
    const tasks = this.#tasks()
    let left = AT_ONCE
    for (const [at, { from, to, height }] of this.#shown.entries()) {
      const element = this.#elements[at]
      const names = `${from} ${to} ${tasks[from]?.task_id} ${tasks[to - 1]?.task_id} ${tasks.length}`
      if (this.#written.get(element) === names) continue
      if (!left--) return void (this.#timer = setTimeout(() => this.#write())) // yields to other work
      this.#written.set(element, names)
      const lines = tasks.slice(from, to).map((task) => titleOf(task).replaceAll("\n", " "))
      element.textContent = lines.join("\n")
      element.style.lineHeight = `${height / lines.length}px` // each title about where its row would be
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
 * @param {number} top
 * @param {number} height
 */
function place(element, top, height) {
  const [at, high] = [`translateY(${top}px)`, `${height}px`]
  if (element.style.transform !== at) element.style.transform = at
  if (element.style.height !== high) element.style.height = high
}
