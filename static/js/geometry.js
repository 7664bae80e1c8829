// @ts-check
// Where each row stands. Rows are all of one height, but for those that are opened.

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
   * The top of a row, in px from the top of its section's rows.
   * @param {number} index
   * @param {number} from  the first row of the section
   */
  offset(index, from) {
    return (index - from) * this.#sizes.row + this.#moreBetween(from, index)
  }

  /**
   * The top of a row, in px from the top of the list.
   * @param {number} index
   */
  top(index) {
    const at = this.#sections.findIndex(({ to }) => index < to)
    return this.#topOf(at) + this.#sizes.head + this.offset(index, this.#sections[at].from)
  }

  /**
   * The rows of a section that can be seen, `from` up to, but without, `to`.
   * @param {number} at  which section
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
   * The row at `y` px from the top of its section's rows; above them `from`, below them `to`.
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
