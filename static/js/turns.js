// @ts-check
// Serialises the requests for one task: the second may depend on the outcome of the first.

/** @typedef {{what: string, answered: Promise<unknown>}} Turn */

export class Turns {
  /** The last turn of each task. @type {Map<string, Turn>} */
  #last = new Map()
  #changed

  /** @param {(id: string) => void} changed  called when requests for a task begin or end */
  constructor(changed) {
    this.#changed = changed
  }

  /** @param {string} id */
  has(id) {
    return this.#last.has(id)
  }

  /**
   * Returns whether the request was sent: the same one is not sent again while the first is under way.
   * @param {string} id
   * @param {string} what
   * @param {() => Promise<void>} ask
   */
  async take(id, what, ask) {
    const before = this.#last.get(id)
    if (before?.what === what) return false
    const { promise: answered, resolve } = Promise.withResolvers()
    this.#last.set(id, { what, answered })
    this.#changed(id)
    try {
      await before?.answered
      await ask()
      return true
    } finally {
      resolve(undefined)
      if (this.#last.get(id)?.answered === answered) this.#last.delete(id)
      this.#changed(id)
    }
  }
}
