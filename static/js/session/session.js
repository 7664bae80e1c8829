// @ts-check
// The log-in: shown when the server wants a token, gone when it takes one.

import { Problem } from "../base/api.js"
import { byId, on, setText } from "../base/dom.js"

/** Fires "wanted" once a token is needed and "begun" once there is a session. */
export class Session extends EventTarget {
  #api
  #i18n
  #form = byId("login", HTMLFormElement)
  #token = byId("token", HTMLInputElement)
  #problem = byId("login-problem", HTMLElement)
  /** There is a session to log out of. */
  isLoggedIn = false

  /**
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(api, i18n) {
    super()
    this.#api = api
    this.#i18n = i18n
    on(api, "unauthorized", () => this.want())
    on(document, "visibilitychange", () => this.#seenAgain())
    this.#form.addEventListener("submit", (event) => this.#logIn(event))
  }

  get isWanted() {
    return document.body.dataset.page === "login"
  }

  /**
   * Ask before anything else whether a token is needed; if so, show the log-in.
   * @param {AbortSignal} signal
   */
  async check(signal) {
    const session = await this.#api.get("api/session", {}, { signal })
    this.isLoggedIn = Boolean(session.logged_in)
    if (session.login_required && !session.logged_in) this.want()
  }

  /** Show the log-in: there is no session, or it has ended. */
  want() {
    if (this.isWanted) return
    document.body.dataset.page = "login"
    this.isLoggedIn = false
    this.#form.hidden = false
    this.dispatchEvent(new Event("wanted"))
    this.#token.focus() // now that no dialog is open that would keep the focus
  }

  /** @param {SubmitEvent} event */
  async #logIn(event) {
    event.preventDefault()
    try {
      await this.#api.send("POST", "api/session", { token: this.#token.value.trim() })
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#token.select()
      return setText(this.#problem, error.status === 401 ? this.#i18n.t("session.wrong") : error.message)
    }
    this.#begin()
  }

  #begin() {
    this.#api.begun()
    this.#form.reset()
    setText(this.#problem, "")
    delete document.body.dataset.page
    this.#form.hidden = true
    this.dispatchEvent(new Event("begun"))
  }

  async logOut() {
    try {
      await this.#api.send("DELETE", "api/session")
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.status === 0) return // still logged in: the connection line says why
    }
    this.want()
  }

  // Somebody may have logged in meanwhile in another tab.
  async #seenAgain() {
    if (!this.isWanted || document.hidden) return
    const session = await this.#api.get("api/session").catch(() => ({ logged_in: false }))
    if (this.isWanted && session.logged_in) this.#begin()
  }
}
