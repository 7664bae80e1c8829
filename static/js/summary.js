// @ts-check
// How much is going on: in the header, and in the tab's title for those who look elsewhere.

import { byId, setText } from "./dom.js"
import { isRunning } from "./task.js"

export class Summary {
  #counts = byId("summary", HTMLElement)
  #speed = byId("speed", HTMLElement)
  #tasks
  #i18n
  #notices

  /**
   * @param {import("./tasks.js").Tasks} tasks
   * @param {import("./i18n.js").I18n} i18n
   * @param {{text: string}} notices  what ended while the reader looked elsewhere
   */
  constructor(tasks, i18n, notices) {
    this.#notices = notices
    this.#tasks = tasks
    this.#i18n = i18n
  }

  /** @param {boolean} knowsAll  false: there are pages that were not loaded, so more may be waiting */
  show(knowsAll) {
    const tasks = this.#tasks.unfinished
    const running = tasks.filter(isRunning)
    const waiting = tasks.filter((task) => task.stage === "queued").length
    const speed = running.reduce((sum, task) => sum + (task.speed ?? 0), 0)
    const texts = []
    if (running.length) texts.push(this.#i18n.t("summary.running", { n: running.length }))
    if (waiting) texts.push(this.#i18n.t("summary.waiting", { n: knowsAll ? waiting : `${waiting}+` }))
    document.title = [this.#notices.text || texts.join(" · "), this.#i18n.t("app.name")].filter(Boolean).join(
      " – ",
    )
    setText(this.#counts, texts.join(" · "))
    setText(this.#speed, speed ? this.#i18n.format.speed(speed) : "")
  }
}
