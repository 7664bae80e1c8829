// @ts-check
// The ticks of a list that grows: one, a range with shift, all or none.

export class Ticks {
  /** @type {HTMLInputElement[]} */
  #boxes = []
  /** The last box that was clicked: a range with shift begins there. */
  #last = 0
  /** What `toggleAll` did last: false unticks boxes that are added later. */
  #areAll = true
  #changed

  /**
   * @param {HTMLElement} list
   * @param {() => void} changed
   */
  constructor(list, changed) {
    this.#changed = changed
    list.addEventListener("click", ({ target, shiftKey }) => {
      if (target instanceof HTMLInputElement) this.#ticked(target, shiftKey)
    })
  }

  get count() {
    return this.#boxes.length
  }

  /** The values of those that are ticked, in order. */
  get chosen() {
    return this.#boxes.filter((box) => box.checked).map((box) => box.value)
  }

  clear() {
    this.#boxes = []
    this.#last = 0
    this.#areAll = true
  }

  /** @param {HTMLInputElement[]} boxes  without a tick if the entry is not to be chosen */
  add(boxes) {
    for (const box of boxes) box.checked &&= this.#areAll
    this.#boxes.push(...boxes)
    this.#changed()
  }

  toggleAll() {
    this.#areAll = !this.#boxes.every((box) => box.checked)
    for (const box of this.#boxes) box.checked = this.#areAll
    this.#changed()
  }

  /**
   * @param {HTMLInputElement} box
   * @param {boolean} isRange
   */
  #ticked(box, isRange) {
    const at = this.#boxes.indexOf(box)
    const [from, to] = isRange ? [Math.min(at, this.#last), Math.max(at, this.#last)] : [at, at]
    for (const other of this.#boxes.slice(from, to + 1)) other.checked = box.checked
    this.#last = at
    this.#changed()
  }
}

/**
 * "1-3,7" of 1, 2, 3 and 7.
 * @param {number[]} numbers  in order
 */
export function ranges(numbers) {
  /** @type {[number, number][]} */
  const found = []
  for (const number of numbers) {
    const last = found.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else found.push([number, number])
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",")
}
