// @ts-check
// Notifications of the system about ended tasks, which the reader can switch on in the settings.

import { byId, setText } from "../base/dom.js"
import { recall, remember } from "../base/preferences.js"

export class NotifyChoice {
  #tick = byId("notify", HTMLInputElement)
  #why = byId("notify-why", HTMLElement)
  #i18n

  /** @param {import("../base/i18n.js").I18n} i18n */
  constructor(i18n) {
    this.#i18n = i18n
    this.#tick.addEventListener("change", () => this.#choose())
  }

  /** Show whether notifications are possible here or, if not, why. */
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
}

/**
 * @param {string} name
 * @param {string} body
 */
export function notify(name, body) {
  if (globalThis.Notification?.permission !== "granted") return
  const options = { body, tag: "clipwire" }
  try {
    const notice = new Notification(name, options)
    notice.addEventListener("click", () => window.focus())
  } catch {
    // Phones allow notifications by service workers only: sw.js handles the click.
    const ready = navigator.serviceWorker?.ready
    // The reader may have withdrawn the permission meanwhile.
    ready?.then((worker) => worker.showNotification(name, options)).catch(() => {})
  }
}
