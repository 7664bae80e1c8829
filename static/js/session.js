// @ts-check
// The log-in: shown when the server wants a token, gone when it takes one.

import { Problem } from "./api.js"
import { byId, setText } from "./dom.js"
import { recall, remember } from "./preferences.js"

/** Fires "wanted" once a token is needed and "begun" once it was taken. */
export class Session extends EventTarget {
  #api
  #form = byId("login", HTMLFormElement)
  #token = byId("token", HTMLInputElement)
  #problem = byId("login-problem", HTMLElement)
  #logout = byId("logout", HTMLButtonElement)

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    super()
    this.#api = api
    this.#logout.hidden = !recall("session", false) // the cookie itself is not for scripts to see
    api.addEventListener("unauthorized", () => this.#want())
    this.#form.addEventListener("submit", (event) => this.#logIn(event))
    this.#logout.addEventListener("click", () => this.#logOut())
  }

  get isWanted() {
    return document.body.dataset.view === "login"
  }

  #want() {
    if (this.isWanted) return
    document.body.dataset.view = "login"
    this.#remember(false)
    this.#token.focus()
    this.dispatchEvent(new Event("wanted"))
  }

  /** @param {SubmitEvent} event */
  async #logIn(event) {
    event.preventDefault()
    try {
      await this.#api.send("POST", "api/session", { token: this.#token.value.trim() })
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.#token.select()
      return setText(this.#problem, error.message)
    }
    this.#begin()
  }

  #begin() {
    this.#form.reset()
    setText(this.#problem, "")
    delete document.body.dataset.view
    this.#remember(true)
    this.dispatchEvent(new Event("begun"))
  }

  async #logOut() {
    try {
      await this.#api.send("DELETE", "api/session")
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.status === 0) return // still logged in: the connection line says why
    }
    this.#want()
  }

  /** @param {boolean} begun */
  #remember(begun) {
    remember("session", begun)
    this.#logout.hidden = !begun
  }
}
