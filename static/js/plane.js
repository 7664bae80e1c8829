// @ts-check
// Sections and rows in the document, each positioned by a transform: so adding or removing one does not lay out
// the others anew.

import { arrange } from "./dom.js"
import { Geometry } from "./geometry.js"
import { SectionElement } from "./section.js"

/** @typedef {import("./row.js").Row} Row */
/** @typedef {import("./task.js").Task} Task */

export class Plane {
  /** Rows that are in the document. @type {Map<string, Row>} */
  rows = new Map()
  /** The extra height of opened rows in px, by id. @type {Map<string, number>} */
  opened = new Map()
  /** Where rows stand: px from the top of the list, and in which section. @type {Map<string, {top: number, key: number}>} */
  places = new Map()
  geometry = new Geometry([], { row: 1, head: 0 }, new Map())
  #root
  #view
  #edge
  #makeRow
  #i18n
  /** An element as high as a row, and as wide as the heading of a section is high: the stylesheet sets both. */
  #ruler
  /** @type {Map<number, SectionElement>} */
  #sections = new Map()

  /**
   * @param {HTMLElement} root
   * @param {import("./view.js").View} view
   * @param {{edge: Task | null, order: import("./order.js").Order}} edge  whether there are tasks that were not loaded
   * @param {(task: Task) => Row} makeRow
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(root, view, edge, makeRow, i18n) {
    this.#root = root
    this.#view = view
    this.#edge = edge
    this.#makeRow = makeRow
    this.#i18n = i18n
    this.#ruler = /** @type {HTMLElement} */ (root.querySelector("[data-part=ruler]"))
  }

  /** Make all rows anew: the language has changed. */
  renew() {
    this.rows.clear()
    this.#sections.clear()
  }

  /** Compute where everything is to stand. */
  measure() {
    const opened = [...this.opened].map(([id, more]) => [this.#view.indexOf(id), more])
    const sizes = { row: this.#ruler.offsetHeight, head: this.#ruler.offsetWidth }
    const inView = /** @type {[number, number][]} */ (opened.filter(([index]) => index >= 0))
    this.geometry = new Geometry(this.#view.sections, sizes, new Map(inView))
  }

  /**
   * @param {{top: number, bottom: number}} sight
   * @param {Set<number>} kept  rows that stay in the document wherever they stand
   */
  place(sight, kept) {
    const { sections } = this.#view
    /** @type {Map<string, Row>} */
    const rows = new Map()
    this.places = new Map()
    const elements = this.geometry.places.map((place, at) => {
      const [section, { from, to }] = [this.#section(place.key), sections[at]]
      const inSight = this.geometry.inSight(at, sight)
      const there = [...kept].filter((index) => index >= from && index < to)
      for (let index = inSight.from; index < inSight.to; index += 1) if (!kept.has(index)) there.push(index)
      there.sort((a, b) => a - b)
      const found = there.map((index) => /** @type {[number, Row]} */ ([index, this.#row(index, rows)]))
      for (const [index, row] of found) {
        this.places.set(row.id, { top: this.geometry.top(index), key: place.key })
      }
      const isWhole = !this.#edge.edge || at < sections.length - 1
      section.show(place, sections[at], found, this.geometry, isWhole)
      return section.element
    })
    this.rows = rows
    for (const key of this.#sections.keys()) {
      if (!sections.some((section) => section.key === key)) this.#sections.delete(key)
    }
    arrange(this.#root, [this.#ruler, ...elements])
    const height = `${this.geometry.height}px`
    if (this.#root.style.height !== height) this.#root.style.height = height
  }

  /**
   * @param {number} index
   * @param {Map<string, Row>} rows
   */
  #row(index, rows) {
    const task = this.#view.items[index]
    const row = this.rows.get(task.task_id) ?? this.#makeRow(task)
    rows.set(task.task_id, row)
    return row
  }

  /** @param {number} key */
  #section(key) {
    let section = this.#sections.get(key)
    if (!section) {
      this.#sections.set(key, section = new SectionElement(String(key), () => this.#view.items))
    }
    const title = this.#edge.order.sections.title(key)
    section.call(typeof title === "string" ? this.#i18n.t(title) : this.#i18n.format.month(title))
    return section
  }
}
