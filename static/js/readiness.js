// @ts-check
// What the service says of itself: how much room there is on its disk, and whether all that it needs is there.

import { Problem } from "./api.js"
import { byId, setText } from "./dom.js"

const AGAIN_MS = 300_000
/** The first check waits this long: a service that has just started is not ready yet, and there is no hurry. */
const FIRST_MS = 4_000

/** @typedef {{ok: boolean, needed: boolean, detail: string, values?: Record<string, number>}} Check */

export class Readiness {
  /** @type {Record<string, Check>} */
  checks = {}
  #space = byId("space", HTMLElement)
  #line = byId("disk", HTMLElement)
  #api
  #i18n
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #first
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(api, i18n) {
    this.#api = api
    this.#i18n = i18n
  }

  /** Check regularly from now on; no change if that was begun before. */
  start() {
    if (this.#timer !== undefined) return
    this.#first = setTimeout(() => this.ask(), FIRST_MS)
    this.#timer = setInterval(() => this.ask(), AGAIN_MS)
  }

  stop() {
    clearTimeout(this.#first)
    clearInterval(this.#timer)
    this.#timer = undefined
    this.checks = {}
    this.show()
  }

  async ask() {
    try {
      this.checks = (await this.#api.get("readyz")).checks ?? {}
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.checks = error.body.checks ?? {} // `503` says what is missing
    }
    this.show()
  }

  show() {
    const { disk } = this.checks
    const free = disk?.values?.free
    const size = free === undefined ? "" : this.#i18n.format.size(free)
    setText(this.#space, size ? this.#i18n.t("space.free", { size }) : "")
    this.#line.hidden = !disk || disk.ok
    setText(this.#line, this.#i18n.t("space.low", { size }))
  }
}
