// @ts-check
// The questions that the page still has to ask the server: one at a time, the most urgent first. A question that
// fails stays open, and is retried by the next `go`.

/** Fires "answered" with {question, result} in `detail`, and "failed" with the error. */
export class Questions extends EventTarget {
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
   * Ask this instead of all open questions, whose answers are of no use any more.
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
   * Ask one question; returns whether the next one may be asked.
   * @param {string} question
   */
  async #ask(question) {
    const { signal } = this.#request
    this.#open.delete(question) // before the request, so that an add() meanwhile opens it again
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
