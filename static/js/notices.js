// @ts-check
// Tells a reader who looks at another page what has ended: in the tab's title and, if the reader wants that, as a
// notification of the system.

import { byId, setText } from "./dom.js"
import { recall, remember } from "./preferences.js"
import { isFinal } from "./task.js"

const GATHER_MS = 3_000

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
