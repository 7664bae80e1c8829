// @ts-check
// How much is going on: in the header, and in the tab's title for those who look elsewhere.

import { Problem } from "../base/api.js"
import { byId, isAway, setText } from "../base/dom.js"
import { isFinal, isRunning, isWaiting, RUNNING_STAGES, WAITING_STAGES } from "../tasks/task.js"

export class Header {
  #element = byId("summary", HTMLElement)
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

  /** @param {import("../list/list.js").TaskList} list  where it was not loaded to its end, the server's counts stand in */
  show({ edge, order }) {
    const running = this.#tasks.unfinished.filter(isRunning)
    const waiting = this.#tasks.unfinished.filter(isWaiting)
    const speed = running.reduce((sum, task) => sum + (task.speed ?? 0), 0)
    const isByState = order.sections.isByState
    // Entries of lists are loaded when somebody unfolds their list.
    const hasLists = this.#tasks.unfinished.some(({ entries }) => entries)
    const [knowsRunning, knowsWaiting] = [
      !hasLists && (!edge || (isByState && !isRunning(edge))),
      !hasLists && (!edge || (isByState && isFinal(edge))),
    ]
    const texts = [
      ["summary.running", this.#count(running, knowsRunning, RUNNING_STAGES)],
      ["summary.waiting", this.#count(waiting, knowsWaiting, WAITING_STAGES)],
    ].flatMap(([key, n]) => (n ? [this.#i18n.t(String(key), { n })] : []))
    document.title = [this.#notices.text || texts.join(" · "), this.#i18n.t("app.name")].filter(Boolean).join(
      " – ",
    )
    setText(this.#element, texts.join(" · "))
    setText(this.#speed, speed && !isAway() ? this.#i18n.format.speed(speed) : "")
  }

  /**
   * How many there are, by the list or by the server.
   * @param {import("../tasks/task.js").Task[]} listed
   * @param {boolean} isAll  false: there may be more of them below
   * @param {readonly string[]} stages
   */
  #count(listed, isAll, stages) {
    if (isAll) return listed.length
    const counted = stages.reduce((sum, stage) => sum + (this.#counts.stages[stage] ?? 0), 0)
    return counted >= listed.length ? counted : `${this.#i18n.format.count(listed.length)}+` // they are not here yet, or out of date
  }
}

// What the service says of itself: how much room there is on its disk, and whether all that it needs is there.

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
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
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
