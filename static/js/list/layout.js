// @ts-check
// The layout of the list: the position of each row. All rows have one height, except opened ones.

import { arrange, setText } from "../base/dom.js"
import { titleOf } from "../tasks/task.js"

/** @typedef {import("./shown.js").Section} Section */
/** @typedef {{row: number, head: number}} Sizes  px of a row that is closed, and of a section's heading */
/** @typedef {{key: number, top: number, height: number}} Place  of a section, from the top of the list */

/** The most rows of a section in the document, however high the window is, apart from rows that are kept. */
export const MOST_ROWS = 72

export class Geometry {
  #sections
  #sizes
  /** The extra height of opened rows in px, in their order. @type {[index: number, more: number][]} */
  #opened

  /**
   * @param {Section[]} sections
   * @param {Sizes} sizes
   * @param {Map<number, number>} opened  row -> its extra height in px
   */
  constructor(sections, sizes, opened) {
    this.#sections = sections
    this.#sizes = sizes
    this.#opened = [...opened].sort(([a], [b]) => a - b)
  }

  get height() {
    return this.#topOf(this.#sections.length)
  }

  /** @returns {Place[]} */
  get places() {
    return this.#sections.map(({ key, from, to }, at) => ({
      key,
      top: this.#topOf(at),
      height: (to - from) * this.#sizes.row + this.#moreBetween(from, to),
    }))
  }

  /**
   * Return the top of a row, in px from the top of its section's rows.
   * @param {number} index
   * @param {number} from the first row of the section
   */
  offset(index, from) {
    return (index - from) * this.#sizes.row + this.#moreBetween(from, index)
  }

  /**
   * Return the top of a row, in px from the top of the list.
   * @param {number} index
   */
  top(index) {
    const at = this.#sections.findIndex(({ to }) => index < to)
    return this.#topOf(at) + this.#sizes.head + this.offset(index, this.#sections[at].from)
  }

  /**
   * Return the rows of a section that are in sight, from `from` up to, but without, `to`.
   * @param {number} at which section
   * @param {{top: number, bottom: number}} sight
   */
  inSight(at, { top, bottom }) {
    const { from, to } = this.#sections[at]
    const begin = this.#topOf(at) + this.#sizes.head
    const first = this.#rowAt(top - begin, from, to)
    const last = this.#rowAt(bottom - begin, from, to)
    return { from: first, to: Math.min(to, first + MOST_ROWS, last + Number(bottom > begin)) }
  }

  /**
   * Return the row at `y` px from the top of its section; `from` if `y` is above all rows, `to` if it is
   * below them.
   * @param {number} y
   * @param {number} from
   * @param {number} to
   */
  #rowAt(y, from, to) {
    let [low, high] = [from, to]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.offset(middle + 1, from) <= y) low = middle + 1
      else high = middle
    }
    return low
  }

  /** @param {number} at */
  #topOf(at) {
    const rows = at < this.#sections.length ? this.#sections[at].from : (this.#sections.at(-1)?.to ?? 0)
    return rows * this.#sizes.row + at * this.#sizes.head + this.#moreBetween(0, rows)
  }

  /**
   * @param {number} from
   * @param {number} to
   */
  #moreBetween(from, to) {
    let sum = 0
    for (const [index, more] of this.#opened) if (index >= from && index < to) sum += more
    return sum
  }
}

// Gaps: stand-ins for rows that are not in the document, with their titles about where the rows would be, so
// that the browser's search finds a title and scrolls there; screen readers do not see gaps, because each row
// says how many there are.

/** @typedef {{from: number, to: number, top: number, height: number}} Gap */

/**
 * The most rows of one gap: a long stretch gets several gaps, so that a browser lays out only the text in
 * sight.
 */
const GAP_ROWS = 50
/**
 * Time between updates of the titles in gaps: their layout is expensive, and they change all the time while
 * somebody scrolls.
 */
const WRITE_MS = 500
/** The most gaps that are written without a pause. */
const AT_ONCE = 200

/**
 * Return the stretches of a section whose rows are not in the document.
 * @param {Section} section
 * @param {number[]} there rows of the section that are in the document, in order
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
  /** The ids of the tasks whose titles are in the element of a gap. @type {WeakMap<HTMLElement, string>} */
  #written = new WeakMap()
  #tasks
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** @param {() => readonly import("../tasks/task.js").Task[]} tasks  that are shown */
  constructor(tasks) {
    this.#tasks = tasks
  }

  /** Return the first row of each gap. */
  get starts() {
    return this.#shown.map(({ from }) => from)
  }

  /**
   * Return the elements for these gaps. An element is reused for a gap that begins at the same row: in
   * another gap, its old titles would lead the browser's search to wrong rows until they are rewritten.
   * @param {Gap[]} gaps
   */
  show(gaps) {
    const before = new Map(this.#shown.map(({ from }, at) => [from, this.#elements[at]]))
    this.#shown = gaps
    this.#elements = gaps.map(({ from }) => before.get(from) ?? newGap())
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
      if (!left--) return void (this.#timer = setTimeout(() => this.#write())) // pause for other work
      this.#written.set(element, names)
      const lines = tasks.slice(from, to).map((task) => titleOf(task).replaceAll("\n", " "))
      element.textContent = lines.join("\n")
      element.style.lineHeight = `${height / lines.length}px` // puts each title about where its row would be
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

// A section of the list in the document: its heading, and the list of its rows and gaps.

export class SectionElement {
  element = document.createElement("section")
  #heading = document.createElement("h2")
  #words = document.createElement("span")
  #count = document.createElement("span")
  #rows = document.createElement("ol")
  #gaps
  #i18n

  /**
   * @param {string} name
   * @param {() => readonly import("../tasks/task.js").Task[]} tasks  that are shown
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(name, tasks, i18n) {
    this.#gaps = new Gaps(tasks)
    this.#i18n = i18n
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
   * @param {Place} place
   * @param {Section} section
   * @param {[index: number, row: import("../row/row.js").Row][]} rows  that are there
   * @param {Geometry} geometry
   * @param {import("./shown.js").ShownList} shown
   * @param {boolean} isWhole  false: tasks of this section may not have been loaded
   */
  show({ top, height }, section, rows, geometry, shown, isWhole) {
    const { from } = section
    setStyle(this.element, "transform", `translateY(${top}px)`)
    setStyle(this.#rows, "height", `${height}px`)
    const count = shown.positionOf(from, section).count + (shown.origins.foldedIn?.(section.key) ?? 0)
    setText(this.#count, this.#i18n.format.count(count) + (isWhole ? "" : "+"))
    const gaps = this.#gaps.show(
      stretches(section, rows.map(([index]) => index)).map(([begin, end]) => {
        const y = geometry.offset(begin, from)
        return { from: begin, to: end, top: y, height: geometry.offset(end, from) - y }
      }),
    )
    for (const [index, row] of rows) {
      setStyle(row.element, "transform", `translateY(${geometry.offset(index, from)}px)`)
      const { position, count } = shown.positionOf(index, section)
      row.stand(position, isWhole || shown.isNested(row.task) ? count : -1)
    }
    arrange(this.#rows, inOrder(rows, gaps, this.#gaps.starts))
  }
}

/**
 * Put rows and gaps into the document in their order.
 * @param {[index: number, row: import("../row/row.js").Row][]} rows
 * @param {HTMLElement[]} gaps
 * @param {number[]} starts the first row of each gap
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

// Sections and rows in the document, each positioned by a transform: adding or removing one does not lay out
// the others anew.

/** @typedef {import("../row/row.js").Row} Row */
/** @typedef {import("../tasks/task.js").Task} Task */

export class Layout {
  /** Rows that are in the document. @type {Map<string, Row>} */
  rows = new Map()
  /** The extra height of opened rows in px, by id. @type {Map<string, number>} */
  opened = new Map()
  /**
   * The position of each row: px from the top of the list, and its section.
   * @type {Map<string, {top: number, key: number}>}
   */
  places = new Map()
  geometry = new Geometry([], { row: 1, head: 0 }, new Map())
  #root
  #shown
  #edge
  #makeRow
  #i18n
  /**
   * An element to measure with: it is as high as a row, and as wide as the heading of a section is high. The
   * stylesheet sets both.
   */
  #ruler
  /** @type {Map<number, SectionElement>} */
  #sections = new Map()

  /**
   * @param {HTMLElement} root
   * @param {import("./shown.js").ShownList} shown
   * @param {{edge: Task | null, order: import("./order.js").Order}} edge  whether there are tasks that were not loaded
   * @param {(task: Task) => Row} makeRow
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(root, shown, edge, makeRow, i18n) {
    this.#root = root
    this.#shown = shown
    this.#edge = edge
    this.#makeRow = makeRow
    this.#i18n = i18n
    this.#ruler = /** @type {HTMLElement} */ (root.querySelector("[data-part=ruler]"))
  }

  /** Make all rows anew after a change of the language. */
  renew() {
    this.rows.clear()
    this.#sections.clear()
  }

  /** Compute the positions of all sections and rows. */
  measure() {
    const opened = [...this.opened].map(([id, more]) => [this.#shown.indexOf(id), more])
    const sizes = { row: this.#ruler.offsetHeight, head: this.#ruler.offsetWidth }
    const inShown = /** @type {[number, number][]} */ (opened.filter(([index]) => index >= 0))
    this.geometry = new Geometry(this.#shown.sections, sizes, new Map(inShown))
  }

  /**
   * @param {{top: number, bottom: number}} sight
   * @param {Set<number>} kept  rows that stay in the document wherever they stand
   */
  place(sight, kept) {
    const { sections } = this.#shown
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
      section.show(place, sections[at], found, this.geometry, this.#shown, isWhole)
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
    const task = this.#shown.items[index]
    const row = this.rows.get(task.task_id) ?? this.#makeRow(task)
    rows.set(task.task_id, row)
    return row
  }

  /** @param {number} key */
  #section(key) {
    let section = this.#sections.get(key)
    if (!section) {
      this.#sections.set(key, section = new SectionElement(String(key), () => this.#shown.items, this.#i18n))
    }
    const title = this.#edge.order.sections.title(key)
    section.call(typeof title === "string" ? this.#i18n.t(title) : this.#i18n.format.month(title))
    return section
  }
}
