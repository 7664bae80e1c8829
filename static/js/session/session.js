// @ts-check
// Whether the reader has to log in or is logged in. The log-in form is loaded when it is needed.

import { fetched, Problem } from "../base/api.js"
import { on } from "../base/dom.js"

/**
 * Fires "wanted" once a log-in is needed, "begun" once there is a session, and "people" where the reader may be one of
 * several people.
 */
export class Session extends EventTarget {
  #api
  #i18n
  /** Whether there is a session to log out of. */
  isLoggedIn = false
  /** The ways to log in, if people were added. @type {string[] | undefined} */
  ways

  /**
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(api, i18n) {
    super()
    this.#api = api
    this.#i18n = i18n
    on(api, "unauthorized", (ways) => this.want(ways))
    on(document, "visibilitychange", () => this.#seenAgain())
  }

  get isWanted() {
    return document.body.dataset.page === "login"
  }

  /**
   * Ask the server first whether a log-in is needed; if so, show it.
   * @param {AbortSignal} signal
   */
  async check(signal) {
    const { login_required, logged_in, ways } = await this.#api.get("api/session", {}, { signal })
    this.isLoggedIn = Boolean(logged_in)
    this.ways = ways
    if (login_required && !logged_in) this.want()
    else if (ways) this.dispatchEvent(new Event("people"))
  }

  /**
   * Show the log-in, because there is no session or it has ended.
   * @param {string[] | null} [ways] in which one can log in, if it is known
   */
  async want(ways = null) {
    if (this.isWanted) return
    document.body.dataset.page = "login"
    this.isLoggedIn = false
    this.ways = ways ?? this.ways // an event without these ways has null
    this.dispatchEvent(new Event("wanted"))
    const { showLogIn } = await fetched(import("./login.js"), this.#i18n)
    if (this.isWanted) showLogIn({ api: this.#api, i18n: this.#i18n, session: this })
  }

  begin() {
    this.#api.begun()
    delete document.body.dataset.page
    this.dispatchEvent(new Event("begun"))
  }

  async logOut() {
    try {
      const answer = await this.#api.send("DELETE", "api/session")
      if (answer) location.assign(answer.log_out_at) // logs out at the provider, too
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.status === 0) return // the reader is still logged in; the line of the connection says why
    }
    this.want()
  }

  // Somebody may have logged in in another tab meanwhile.
  async #seenAgain() {
    if (!this.isWanted || document.hidden) return
    const session = await this.#api.get("api/session").catch(() => ({ logged_in: false }))
    if (this.isWanted && session.logged_in) this.begin()
  }
}
