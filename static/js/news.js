// @ts-check
// Tells screen readers which tasks have ended: gathered for some seconds, and many of them as a number.

import { Problem } from "./api.js"
import { byId, setText } from "./dom.js"
import { recall, remember } from "./preferences.js"
import { isFinal, titleOf } from "./task.js"

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
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(region, i18n) {
    this.#region = region
    this.#i18n = i18n
  }

  /** @param {import("./tasks.js").Change} change */
  changed({ task, before }) {
    if (before && before.stage !== task.stage && isFinal(task)) this.say(`${titleOf(task)}: ${task.message}`)
  }

  /** @param {string} text */
  say(text) {
    this.#news.push(text)
    this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS)
  }

  /** Drop what has not been said yet, and clear what was said last. */
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

// Tells a reader who looks at another page what has ended: in the tab's title and, if the reader wants that, as a
// notification of the system.

/** Fires "seen" when the reader has come back. */
export class Notices extends EventTarget {
  #tick = byId("notify", HTMLInputElement)
  #why = byId("notify-why", HTMLElement)
  #i18n
  #finished = 0
  #failed = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    super()
    this.#i18n = i18n
    this.#tick.addEventListener("change", () => this.#choose())
    document.addEventListener("visibilitychange", () => document.hidden || this.#seen())
    this.show()
  }

  /** What has ended since the reader looked away: "3 finished, 1 failed". */
  get text() {
    const [n, failed] = [this.#finished, this.#failed]
    const texts = [
      n && this.#i18n.t("notice.finished", { n }),
      failed && this.#i18n.t("notice.failed", { n: failed }),
    ]
    return texts.filter(Boolean).join(this.#i18n.t("notice.and"))
  }

  /** @param {import("./tasks.js").Change} change */
  changed({ task, before }) {
    if (!document.hidden || !before || before.stage === task.stage || !isFinal(task)) return
    if (task.stage === "completed") this.#finished += 1
    else if (task.stage === "failed") this.#failed += 1
    else return
    this.#timer ??= setTimeout(() => this.#tell(), GATHER_MS)
  }

  /** Show whether notifications are possible here, and if not, why. */
  show() {
    const { permission } = globalThis.Notification ?? {}
    const isPossible = isSecureContext && permission !== undefined && permission !== "denied"
    this.#tick.disabled = !isPossible
    this.#tick.checked = permission === "granted" && recall("notify", false)
    const why = !isSecureContext ? "needs_https" : permission === "denied" ? "denied" : ""
    setText(this.#why, why && this.#i18n.t(`notice.${why}`))
  }

  async #choose() {
    remember("notify", this.#tick.checked && (await Notification.requestPermission()) === "granted")
    this.show()
  }

  #tell() {
    this.#timer = undefined
    if (!document.hidden || !this.#tick.checked) return
    const name = this.#i18n.t("app.name")
    const options = { body: this.text, tag: "clipwire" }
    try {
      const notice = new Notification(name, options)
      notice.addEventListener("click", () => window.focus())
    } catch {
      // Phones allow notifications by service workers only: sw.js handles the click.
      const ready = navigator.serviceWorker?.ready
      ready?.then((worker) => worker.showNotification(name, options)).catch(() => {}) // refused meanwhile
    }
  }

  #seen() {
    this.#finished = this.#failed = 0
    this.dispatchEvent(new Event("seen"))
  }
}

const SHOWN_MS = 10_000

/** From now on show each refused request that concerns no row, which no other code has caught, in a line for a while. */
export function showRefusals() {
  const line = byId("refused", HTMLElement)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer
  addEventListener("unhandledrejection", (event) => {
    if (!(event.reason instanceof Problem)) return
    event.preventDefault()
    if (event.reason.status === 401) return // the log-in form shows that
    clearTimeout(timer)
    setText(line, event.reason.message)
    timer = setTimeout(() => setText(line, ""), SHOWN_MS)
  })
}
