// @ts-check
// A section of the list in the document: its heading, and a list of the rows that are there, with gaps between them.

import { arrange, setText } from "./dom.js"
import { Gaps, stretches } from "./gaps.js"

export class SectionElement {
  element = document.createElement("section")
  #heading = document.createElement("h2")
  #words = document.createElement("span")
  #count = document.createElement("span")
  #rows = document.createElement("ol")
  #gaps

  /**
   * @param {string} name
   * @param {() => readonly import("./task.js").Task[]} tasks  that are shown
   */
  constructor(name, tasks) {
    this.#gaps = new Gaps(tasks)
    this.element.className = "section"
    this.#words.id = `section-${name}`
    this.#count.className = "count"
    this.#count.ariaHidden = "true"
    this.#heading.append(this.#words, this.#count)
    this.#rows.setAttribute("role", "list") // Safari removes this role from a list without bullets
    this.#rows.setAttribute("aria-labelledby", this.#words.id)
    this.element.append(this.#heading, this.#rows)
  }

  /** @param {string} title  changes at midnight: today becomes yesterday */
  call(title) {
    setText(this.#words, title)
  }

  /**
   * @param {import("./geometry.js").Place} place
   * @param {import("./view.js").Section} section
   * @param {[index: number, row: import("./row.js").Row][]} rows  that are there
   * @param {import("./geometry.js").Geometry} geometry
   * @param {boolean} isWhole  false: tasks of this section may not have been loaded
   */
  show({ top, height }, section, rows, geometry, isWhole) {
    const { from, to } = section
    setStyle(this.element, "transform", `translateY(${top}px)`)
    setStyle(this.#rows, "height", `${height}px`)
    setText(this.#count, isWhole ? String(to - from) : `${to - from}+`)
    const gaps = this.#gaps.show(
      stretches(section, rows.map(([index]) => index)).map(([begin, end]) => {
        const y = geometry.offset(begin, from)
        return { from: begin, to: end, top: y, height: geometry.offset(end, from) - y }
      }),
    )
    for (const [index, row] of rows) {
      setStyle(row.element, "transform", `translateY(${geometry.offset(index, from)}px)`)
      row.stand(index - from + 1, isWhole ? to - from : -1)
    }
    arrange(this.#rows, inOrder(rows, gaps, this.#gaps.starts))
  }
}

/**
 * Rows and gaps in the order of the document.
 * @param {[index: number, row: import("./row.js").Row][]} rows
 * @param {HTMLElement[]} gaps
 * @param {number[]} starts  the first row of each gap
 */
function inOrder(rows, gaps, starts) {
  /** @type {HTMLElement[]} */
  const elements = []
  let at = 0
  for (const [index, row] of rows) {
    while (at < gaps.length && starts[at] < index) elements.push(gaps[at++])
    elements.push(row.element)
  }
  return [...elements, ...gaps.slice(at)]
}

/**
 * @param {HTMLElement} element
 * @param {"transform" | "height"} name
 * @param {string} value
 */
function setStyle(element, name, value) {
  if (element.style[name] !== value) element.style[name] = value
}
