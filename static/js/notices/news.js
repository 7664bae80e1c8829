// @ts-check
// Announces ended tasks to screen readers: it collects them for some seconds, and gives many as a number.

import { Problem } from "../base/api.js"
import { byId, setText } from "../base/dom.js"
import { recall } from "../base/preferences.js"
import { isAsking, isFinal, titleOf } from "../tasks/task.js"

const GATHER_MS = 3_000
const MOST_AT_ONCE = 3

export class Announcer {
  #region
  #i18n
  /** @type {string[]} */
  #news = []
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {HTMLElement} region  aria-live
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(region, i18n) {
    this.#region = region
    this.#i18n = i18n
  }

  /** @param {import("../tasks/tasks.js").Change} change */
  changed({ task, before }) {
    if (!before || before.stage === task.stage || !isFinal(task)) return
    this.say(`${titleOf(task)}: ${isAsking(task) ? task.error : task.message}`)
  }

  /** @param {string} text */
  say(text) {
    this.#news.push(text)
    this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS)
  }

  /** Drop announcements that were not made yet, and clear the last one. */
  hush() {
    clearTimeout(this.#timer)
    this.#news = []
    this.#speak()
  }

  #speak() {
    const many = this.#news.length > MOST_AT_ONCE
    const text = many ? this.#i18n.t("announce.many", { n: this.#news.length }) : this.#news.join(" ")
    this.#region.textContent = text
    this.#news = []
    this.#timer = undefined
  }
}

// Tells a reader who looks at another page which tasks have ended: in the tab's title and, if the reader
// wants it, by a notification of the system.

/** Fires "seen" when the reader looks at the page again. */
export class Notices extends EventTarget {
  #i18n
  #finished = 0
  #failed = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** @param {import("../base/i18n.js").I18n} i18n */
  constructor(i18n) {
    super()
    this.#i18n = i18n
    document.addEventListener("visibilitychange", () => document.hidden || this.#seen())
  }

  /**
   * Return words such as "3 finished, 1 failed" for the tasks that have ended since the reader looked away.
   */
  get text() {
    const [n, failed] = [this.#finished, this.#failed]
    const texts = [
      n && this.#i18n.t("notice.finished", { n }),
      failed && this.#i18n.t("notice.failed", { n: failed }),
    ]
    return texts.filter(Boolean).join(this.#i18n.t("notice.and"))
  }

  /** @param {import("../tasks/tasks.js").Change} change */
  changed({ task, before }) {
    if (!document.hidden || !before || before.stage === task.stage || !isFinal(task)) return
    if (task.stage === "completed") this.#finished += 1
    else if (task.stage === "failed" && !isAsking(task)) this.#failed += 1
    else return
    this.#timer ??= setTimeout(() => this.#tell(), GATHER_MS)
  }

  #tell() {
    this.#timer = undefined
    if (!document.hidden || !recall("notify", false)) return
    const { text } = this
    const name = this.#i18n.t("app.name")
    // The title of the tab says it, too.
    import("./notify.js").then(({ notify }) => notify(name, text)).catch(() => {})
  }

  #seen() {
    this.#finished = this.#failed = 0
    this.dispatchEvent(new Event("seen"))
  }
}

const SHOWN_MS = 10_000

/**
 * From now on, show a refused request in a line for a while if it concerns no row and no other code has
 * caught it.
 */
export function showRefusals() {
  const line = byId("refused", HTMLElement)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  addEventListener("unhandledrejection", (event) => {
    if (!(event.reason instanceof Problem)) return
    event.preventDefault()
    if (event.reason.status === 401) return // the log-in form appears instead of a message
    clearTimeout(timer)
    setText(line, event.reason.message)
    timer = setTimeout(() => setText(line, ""), SHOWN_MS)
  })
}
