// @ts-check
// The total speed in the header, and the number of running and waiting tasks in the tab's title, for readers
// who look at another tab.

import { Problem } from "../base/api.js"
import { byId, isAway, setText } from "../base/dom.js"
import { isRunning, RUNNING_STAGES, WAITING_STAGES } from "../tasks/task.js"

export class Header {
  #speed = byId("speed", HTMLElement)
  #tasks
  #counts
  #i18n
  #notices

  /**
   * @param {import("../tasks/tasks.js").Tasks} tasks
   * @param {{stages: Record<string, number>}} counts  as the server last said
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {{text: string}} notices  what ended while the reader looked elsewhere
   */
  constructor(tasks, counts, i18n, notices) {
    this.#notices = notices
    this.#tasks = tasks
    this.#counts = counts
    this.#i18n = i18n
  }

  show() {
    const texts = [["summary.running", RUNNING_STAGES], ["summary.waiting", WAITING_STAGES]].flatMap(
      ([key, stages]) => {
        const n = [...stages].reduce((sum, stage) => sum + (this.#counts.stages[stage] ?? 0), 0)
        return n ? [this.#i18n.t(String(key), { n })] : []
      },
    )
    const title = this.#notices.text || texts.join(" · ")
    document.title = [title, this.#i18n.t("app.name")].filter(Boolean).join(" – ")
    const speed = this.#tasks.unfinished.reduce(
      (sum, task) => sum + (isRunning(task) ? task.speed ?? 0 : 0),
      0,
    )
    setText(this.#speed, speed && !isAway() ? this.#i18n.format.speed(speed) : "")
  }
}

// The service's checks of itself: the free space on its disk, and whether all its programs are there.

const AGAIN_MS = 300_000
/** The first check comes after this time, since a service that has just started is not ready yet. */
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
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(api, i18n) {
    this.#api = api
    this.#i18n = i18n
  }

  /** Check regularly from now on; a second call changes nothing. */
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
      this.checks = error.body.checks ?? {} // a `503` answer says which checks failed
    }
    this.show()
  }

  show() {
    const { disk } = this.checks
    const free = disk?.values?.free
    const size = free === undefined ? "" : this.#i18n.format.size(free)
    const isLow = Boolean(disk && !disk.ok)
    // The warning of low space shows this failed check already.
    setText(this.#space, size && !isLow ? this.#i18n.t("space.free", { size }) : "")
    this.#line.hidden = !isLow
    const floor = disk?.values?.floor ?? 0
    setText(this.#line, this.#i18n.t("space.low", { size, floor: this.#i18n.format.size(floor) }))
  }
}
