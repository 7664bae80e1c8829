// @ts-check
// What is asked of one task goes out one after the other: the second thing may depend on what became of the first.

/** @typedef {{what: string, answered: Promise<unknown>}} Turn */

export class Turns {
  /** The last one of each task. @type {Map<string, Turn>} */
  #last = new Map()
  #changed

  /** @param {(id: string) => void} changed  is told when a task begins or ends to be waited for */
  constructor(changed) {
    this.#changed = changed
  }

  /** @param {string} id */
  has(id) {
    return this.#last.has(id)
  }

  /**
   * Says whether it was asked: a second click on the same changes nothing while the first is under way.
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
