// @ts-check
// Items in an order that a comparison gives, each found again by its id.

/**
 * @template {{task_id: string}} T
 */
export class Sequence {
  #compare
  /** @type {T[]} */
  #items = []
  /** The item as it stood when it got its place. @type {Map<string, T>} */
  #byId = new Map()

  /** @param {(a: T, b: T) => number} compare  0 only for the same item */
  constructor(compare) {
    this.#compare = compare
  }

  /** @type {readonly T[]} */
  get items() {
    return this.#items
  }

  /** @param {string} id */
  get(id) {
    return this.#byId.get(id)
  }

  /** @param {string} id */
  indexOf(id) {
    const item = this.#byId.get(id)
    return item ? this.#placeOf(item) : -1
  }

  /**
   * Put in an item, in place of the one with its id; says whether that one stood somewhere else.
   * @param {T} item
   */
  put(item) {
    const before = this.#byId.get(item.task_id)
    this.#byId.set(item.task_id, item)
    if (!before) {
      this.#items.splice(this.#placeOf(item), 0, item)
      return false
    }
    const place = this.#placeOf(before)
    if (this.#compare(before, item) === 0) {
      this.#items[place] = item
      return false
    }
    this.#items.splice(place, 1)
    this.#items.splice(this.#placeOf(item), 0, item)
    return true
  }

  /** @param {string} id */
  remove(id) {
    const item = this.#byId.get(id)
    if (!item) return
    this.#items.splice(this.#placeOf(item), 1)
    this.#byId.delete(id)
  }

  /**
   * Where `item` stands, or would stand.
   * @param {T} item
   */
  #placeOf(item) {
    let [low, high] = [0, this.#items.length]
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#compare(this.#items[middle], item) < 0) low = middle + 1
      else high = middle
    }
    return low
  }
}
