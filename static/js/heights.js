// @ts-check
// How high rows are: as measured, or as high as those that were measured first.

const FIRST_GUESS_PX = 140

export class Heights {
  /** @type {Map<string, number>} */
  #measured = new Map()
  #guess = FIRST_GUESS_PX

  /** @param {string} id */
  of(id) {
    return this.#measured.get(id) ?? this.#guess
  }

  /**
   * Take in what was measured together; says whether anything is new. The guess is made once: with each other
   * one all that is above would move.
   * @param {[id: string, px: number][]} rows
   */
  measured(rows) {
    const news = rows.filter(([id, height]) => height && this.#measured.get(id) !== height)
    if (!this.#measured.size && news.length) {
      this.#guess = news.reduce((sum, [, height]) => sum + height, 0) / news.length
    }
    for (const [id, height] of news) this.#measured.set(id, height)
    return news.length > 0
  }

  /** The width has changed, or the words have. */
  clear() {
    this.#measured.clear()
  }
}
