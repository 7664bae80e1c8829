// @ts-check
// The choice in the settings whether the system is to tell what has ended, which `Notices` does.

import { byId, setText } from "./dom.js"
import { recall, remember } from "./preferences.js"

export class NotifyChoice {
  #tick = byId("notify", HTMLInputElement)
  #why = byId("notify-why", HTMLElement)
  #i18n

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    this.#i18n = i18n
    this.#tick.addEventListener("change", () => this.#choose())
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
}
