// @ts-check
// What the page still has to ask: one question after the other, the most urgent first. One that fails stays, and
// is asked again when somebody says `go`.

/** Fires "answered" with {question, result} in `detail`, and "failed" with the error. */
export class Agenda extends EventTarget {
  #questions
  /** @type {Set<string>} */
  #open = new Set()
  #isAsking = false
  #request = new AbortController()

  /** @param {Record<string, (signal: AbortSignal) => Promise<unknown>>} questions  the most urgent first */
  constructor(questions) {
    super()
    this.#questions = questions
  }

  get isAsking() {
    return this.#isAsking
  }

  /** @param {string} name  whether this is still to be asked */
  has(name) {
    return this.#open.has(name)
  }

  /** @param {string} name */
  add(name) {
    this.#open.add(name)
    return this.go()
  }

  /**
   * Ask this instead of all that is open: the answers would be of no use.
   * @param {string} name
   */
  replace(name) {
    this.clear()
    return this.add(name)
  }

  clear() {
    this.#open.clear()
    this.#request.abort()
    this.#request = new AbortController()
  }

  async go() {
    if (this.#isAsking) return
    this.#isAsking = true
    let isWell = true
    for (let name = this.#next(); name && isWell; name = this.#next()) isWell = await this.#ask(name)
    this.#isAsking = false
  }

  #next() {
    return Object.keys(this.#questions).find((name) => this.#open.has(name))
  }

  /**
   * Whether the next one may be asked.
   * @param {string} question
   */
  async #ask(question) {
    const { signal } = this.#request
    this.#open.delete(question) // now: asked for once more while it is asked, it is open again
    try {
      const result = await this.#questions[question](signal)
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("answered", { detail: { question, result } }))
      return true
    } catch (error) {
      if (signal.aborted) return true
      this.#open.add(question)
      this.dispatchEvent(new CustomEvent("failed", { detail: error }))
      return false
    }
  }
}
