// @ts-check
// Keeps the list true: by the socket while there is one, else by asking every two seconds, and says which.

import { Problem } from "./api.js"
import { byId, setText } from "./dom.js"

/** @typedef {"connecting" | "live" | "polling" | "unreachable"} State */

export class Connection {
  #element = byId("connection", HTMLElement)
  #feed
  #pages
  #i18n
  /** @type {State} */
  #state = "connecting"
  #isLive = false
  #listed = false

  /**
   * @param {import("./feed.js").Feed} feed
   * @param {import("./pages.js").Pages} pages
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(feed, pages, i18n) {
    this.#feed = feed
    this.#pages = pages
    this.#i18n = i18n
    feed.addEventListener("live", () => this.#live())
    feed.addEventListener("down", () => (this.#isLive = false))
    feed.addEventListener("poll", () => this.#pages.isBusy || this.#list({ firstPageOnly: true }))
    document.addEventListener("visibilitychange", () => this.#seenAgain())
  }

  /** Connect; what is listed first replaces all that is shown. */
  start() {
    this.#listed = false
    this.#show("connecting")
    this.#feed.start()
  }

  stop() {
    this.#isLive = false
    this.#feed.stop()
  }

  /**
   * Ask for a list in one of its ways; when the server does not answer, say so.
   * @param {() => Promise<void>} ask
   */
  async asking(ask) {
    try {
      await ask()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.status === 401) return // the log-in says it
      return this.#show("unreachable", error.message)
    }
    const isBack = this.#state === "unreachable"
    this.#show(this.#isLive ? "live" : "polling")
    if (isBack) this.#feed.hurry()
  }

  #live() {
    this.#isLive = true
    this.#list({})
  }

  /** @param {{firstPageOnly?: boolean}} how */
  async #list(how) {
    await this.asking(async () => {
      await (this.#listed ? this.#pages.refresh(how) : this.#pages.first())
      this.#listed = true
    })
  }

  // A machine that slept may still believe in a socket that is long dead.
  #seenAgain() {
    if (!document.hidden && this.#isLive && !this.#pages.isBusy) this.#list({})
  }

  /**
   * @param {State} state
   * @param {string} [text]
   */
  #show(state, text) {
    this.#state = state
    this.#element.dataset.state = state
    setText(this.#element, text ?? this.#i18n.t(`connection.${state}`))
  }
}
