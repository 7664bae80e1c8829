// @ts-check
// What is shown: the list itself, or, while the reader points at it, the list as it was. Then changes wait, and rows
// stay where they are whatever becomes of their tasks.

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{key: number, from: number, to: number}} Section  rows `from` up to, but without, `to` */

export class View {
  /** @type {Task[]} */
  items = []
  /** @type {Section[]} */
  sections = []
  isHeld = false
  #list
  /** Id -> index of each row, while rows are held. @type {Map<string, number>} */
  #held = new Map()
  /** The last task that was loaded when rows were held, or appended. @type {Task | null} */
  #edge = null
  /** Ids of tasks that would come, go or move. @type {Set<string>} */
  #due = new Set()

  /** @param {import("./list.js").TaskList} list */
  constructor(list) {
    this.#list = list
  }

  /** How many rows wait to come, go or move. */
  get due() {
    return this.#due.size
  }

  hold() {
    if (this.isHeld) return
    this.isHeld = true
    this.#edge = this.#list.edge
    this.#held = new Map(this.items.map((task, index) => [task.task_id, index]))
  }

  release() {
    this.isHeld = false
    this.#held.clear()
    this.#due.clear()
    this.refresh()
  }

  /** Show the list as it is, unless rows are held. Returns whether that was done. */
  refresh() {
    if (this.isHeld) return false
    this.items = [...this.#list.tasks]
    this.sections = sectionsOf(this.items, (task) => this.#list.order.sections.of(task))
    return true
  }

  /** More was loaded: append what lies below all that was loaded before, at once, also to rows that are held. */
  extend() {
    if (!this.isHeld) return void this.refresh()
    const { tasks, order, edge } = this.#list
    let from = this.#edge ? tasks.length : Infinity
    while (from > 0 && this.#edge && order.compare(tasks[from - 1], this.#edge) > 0) from -= 1
    for (const task of tasks.slice(from)) {
      if (this.#held.has(task.task_id)) continue
      this.#held.set(task.task_id, this.items.push(task) - 1)
      this.#due.delete(task.task_id)
      this.#lengthen(order.sections.of(task))
    }
    this.#edge = edge
  }

  /**
   * A task has changed, or was removed: note whether its row is where it belongs.
   * @param {string} id
   */
  changed(id) {
    if (!this.isHeld) return
    const [task, index] = [this.#list.get(id), this.#held.get(id)]
    const isInPlace = task && index !== undefined
      ? this.#list.order.sections.of(task) === this.sectionAt(index)?.key
      : !task && index === undefined
    if (isInPlace) this.#due.delete(id)
    else this.#due.add(id)
  }

  /** @param {number} index */
  sectionAt(index) {
    return this.sections.find(({ to }) => index < to)
  }

  /** @param {string} id */
  indexOf(id) {
    return this.isHeld ? (this.#held.get(id) ?? -1) : this.#list.indexOf(id)
  }

  /** @param {number} key  a row of a section that is there already stands in the last one until rows are released */
  #lengthen(key) {
    const last = this.sections.at(-1)
    if (last && this.sections.some((section) => section.key <= key)) last.to += 1
    else this.sections.push({ key, from: this.items.length - 1, to: this.items.length })
  }
}

/**
 * Where one section ends and the next begins, found without looking at every task.
 * @param {readonly Task[]} items
 * @param {(task: Task) => number} keyOf
 */
export function sectionsOf(items, keyOf) {
  /** @type {Section[]} */
  const sections = []
  for (let from = 0; from < items.length;) {
    const key = keyOf(items[from])
    let [low, high] = [from + 1, items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (keyOf(items[middle]) === key) low = middle + 1
      else high = middle
    }
    sections.push({ key, from, to: low })
    from = low
  }
  return sections
}
