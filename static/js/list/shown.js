// @ts-check
// The rows that are shown: those of the list or, while the reader points at it, those that it had before.
// Then changes wait, and rows stay where they are whatever happens to their tasks. Below an unfolded list of
// entries are the rows of its entries.

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {{key: number, from: number, to: number}} Section  rows `from` up to, but without, `to` */
/** @typedef {{at: number, count: number}} Unfolded  the row of a list, with so many entries below it */

export class ShownList {
  /** @type {Task[]} */
  items = []
  /** @type {Section[]} */
  sections = []
  isFrozen = false
  /** Whether the queue is paused, so that nobody knows how long its tasks wait. */
  isPaused = false
  /**
   * How a row leads to its subscription, and which rows are folded under another of their subscription: none,
   * until the script that is loaded on demand knows.
   * @type {{show?: (row: HTMLElement, task: Task) => void, visible?: (tasks: readonly Task[]) => Task[], hides?: (task: Task) => boolean, foldedIn?: (section: number) => number}}
   */
  origins = {}
  #list
  #entriesOf
  /** Ids of lists that are unfolded. @type {Set<string>} */
  #open = new Set()
  /** The unfolded lists that have a row, from top to bottom. @type {Unfolded[]} */
  #unfolded = []
  /**
   * The index of each row by its id, while rows are frozen or a list is unfolded.
   * @type {Map<string, number> | null}
   */
  #places = null
  /** The last loaded task at the time when rows were frozen or last appended. @type {Task | null} */
  #edge = null
  /** Ids of the tasks whose rows wait to appear, disappear or move. @type {Set<string>} */
  #due = new Set()

  /**
   * @param {import("./list.js").TaskList} list
   * @param {(id: string) => Task[]} entriesOf  those entries of a list that are to be shown, in their order
   */
  constructor(list, entriesOf = () => []) {
    this.#list = list
    this.#entriesOf = entriesOf
  }

  /** Return how many rows wait to appear, disappear or move. */
  get due() {
    return this.#due.size
  }

  /** Return whether all waiting rows would appear. */
  get isAllNew() {
    return [...this.#due].every((id) => this.#list.get(id) && !this.#places?.has(id))
  }

  /** Freeze the rows: from now on none appears, disappears or moves. */
  freeze() {
    if (this.isFrozen) return
    this.isFrozen = true
    this.#edge = this.#list.edge
    this.#number()
  }

  thaw() {
    this.isFrozen = false
    this.#due.clear()
    this.refresh()
  }

  /** Show the list as it is, unless rows are frozen; return whether that was done. */
  refresh() {
    if (this.isFrozen) return false
    const { tasks } = this.#list
    this.items = this.origins.visible?.(tasks) ?? [...tasks]
    this.sections = sectionsOf(this.items, (task) => this.#list.order.sections.of(task))
    this.#unfolded = []
    this.#places = null
    if (this.items.length < tasks.length) this.#number()
    if (!this.#open.size || !this.#list.rule.isFolded) return true
    const open = [...this.#open].map((id) => [this.indexOf(id), id])
    const here = /** @type {[number, string][]} */ (open.filter(([at]) => at !== -1))
    for (const [at, id] of here.sort(([a], [b]) => b - a)) this.#insert(at, this.#entriesOf(id))
    this.#number()
    return true
  }

  /** Append the rows of a newly loaded page below all others at once, also if rows are frozen. */
  extend() {
    if (!this.isFrozen || !this.#places) return void this.refresh()
    const { tasks, order, edge } = this.#list
    let from = this.#edge ? tasks.length : Infinity
    while (from > 0 && this.#edge && order.compare(tasks[from - 1], this.#edge) > 0) from -= 1
    for (const task of tasks.slice(from)) {
      if (this.#places.has(task.task_id) || this.origins.hides?.(task)) continue
      this.#places.set(task.task_id, this.items.push(task) - 1)
      this.#due.delete(task.task_id)
      this.#lengthen(order.sections.of(task))
    }
    this.#edge = edge
  }

  /**
   * Show the entries of a list below it at once, because the reader has asked for them.
   * @param {string} id
   */
  unfold(id) {
    this.fold(id)
    this.#open.add(id)
    const at = this.isFrozen ? this.indexOf(id) : -1
    if (at === -1) return void this.refresh()
    this.#insert(at, this.#entriesOf(id))
    this.#number()
  }

  /** @param {string} id */
  fold(id) {
    const isOpen = this.#open.delete(id)
    const found = this.#unfolded.find(({ at }) => this.items[at]?.task_id === id)
    if (!isOpen || !found || !this.isFrozen) return void this.refresh()
    this.items.splice(found.at + 1, found.count)
    this.#unfolded = this.#unfolded.filter((other) => other !== found)
    this.#move(found.at, -found.count)
    this.#number()
  }

  /** @param {string} id  whether the entries of this list are asked for */
  hasOpen(id) {
    return this.#open.has(id)
  }

  /** @param {Task} task  whether it stands under its list */
  isNested({ playlist_id }) {
    return Boolean(playlist_id && this.#open.has(playlist_id) && this.#list.rule.isFolded)
  }

  /**
   * Note whether the row of a changed or removed task is still where it belongs.
   * @param {string} id
   * @param {Task | undefined} [known] the task, if it is there
   */
  changed(id, known) {
    if (!this.isFrozen) return
    const [task, index] = [this.#list.get(id), this.#places?.get(id)]
    // The row of the entry is below its list, or there is none.
    if (known?.playlist_id && this.#list.rule.isFolded) return
    const isInPlace = index === undefined
      ? !task || this.origins.hides?.(task)
      : task && this.#list.order.sections.of(task) === this.sectionAt(index)?.key
    if (isInPlace) this.#due.delete(id)
    else this.#due.add(id)
  }

  /**
   * Return the place of a task in the queue, from 1; 0 if tasks that are not listed may be before it.
   * @param {Task} task
   */
  queuePlaceOf(task) {
    const { rule, order, tasks } = this.#list
    if (task.stage !== "queued" || task.playlist_id || !rule.isAll || !order.sections.isByState) return 0
    const { sections } = order
    const [from, at] = [
      tasks.findIndex((each) => sections.isWaiting(sections.of(each))),
      this.#list.indexOf(task.task_id),
    ]
    if (at >= 0 && at >= from && sections.isWaiting(sections.of(task))) return at - from + 1
    const before = tasks.filter((each) => each.stage === "queued" && order.isBefore(each, task))
    return before.length + 1
  }

  /** @param {number} index */
  sectionAt(index) {
    return this.sections.find(({ to }) => index < to)
  }

  /** @param {string} id */
  indexOf(id) {
    return this.#places ? (this.#places.get(id) ?? -1) : this.#list.indexOf(id)
  }

  /**
   * Return the position of the row at an index, from 1, and the number of rows: within its section, or among
   * the entries of its list.
   * @param {number} index
   * @param {Section} section
   */
  positionOf(index, section) {
    const list = this.#unfolded.find(({ at, count }) => index > at && index <= at + count)
    if (list) return { position: index - list.at, count: list.count }
    const entries = (/** @type {number} */ to) =>
      this.#unfolded.reduce((sum, { at, count }) => sum + (at >= section.from && at < to ? count : 0), 0)
    return {
      position: index - section.from + 1 - entries(index),
      count: section.to - section.from - entries(section.to),
    }
  }

  /**
   * @param {number} at
   * @param {Task[]} entries  to stand below the row there
   */
  #insert(at, entries) {
    this.items.splice(at + 1, 0, ...entries)
    this.#move(at, entries.length)
    this.#unfolded = [...this.#unfolded, { at, count: entries.length }].sort((a, b) => a.at - b.at)
  }

  /**
   * Move the indices of all rows below a row.
   * @param {number} at
   * @param {number} by
   */
  #move(at, by) {
    this.sections = this.sections.map(({ key, from, to }) => ({
      key,
      from: from > at ? from + by : from,
      to: to > at ? to + by : to,
    }))
    this.#unfolded = this.#unfolded.map((list) => (list.at > at ? { ...list, at: list.at + by } : list))
  }

  #number() {
    this.#places = new Map(this.items.map((task, index) => [task.task_id, index]))
  }

  /** @param {number} key  a row of a section that is there already stands in the last one until rows are thawed */
  #lengthen(key) {
    const last = this.sections.at(-1)
    if (last && this.sections.some((section) => section.key <= key)) last.to += 1
    else this.sections.push({ key, from: this.items.length - 1, to: this.items.length })
  }
}

/**
 * Find the bounds of all sections without reading every task.
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
