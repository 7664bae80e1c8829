// @ts-check
// Requests to the server, in the reader's language. Every URL is relative: the page may live under a prefix.

/** @typedef {Record<string, string | number | undefined>} Query  undefined: left out */

/** An answer that says no (RFC 9457), or none at all (`status` 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, title?: string, detail?: string, errors?: {field: string, message: string}[]}} body
   */
  constructor(status, body) {
    const fields = (body.errors ?? []).map((error) => error.message)
    super(fields.join(" ") || body.detail || body.title || `HTTP ${status}`)
    this.status = status
    this.code = body.code ?? ""
  }
}

/** Fires "unauthorized" when the server wants a token. */
export class Api extends EventTarget {
  #i18n

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    super()
    this.#i18n = i18n
  }

  /**
   * @param {string} path
   * @param {Query} [query]
   */
  url(path, query = {}) {
    const url = new URL(path, document.baseURI)
    for (const [name, value] of Object.entries({ ...query, lang: this.#i18n.language })) {
      if (value !== undefined && value !== "") url.searchParams.set(name, String(value))
    }
    return url
  }

  /** The feed's address; like every other it carries the language. */
  socketUrl() {
    const url = this.url("ws")
    url.protocol = url.protocol.replace("http", "ws")
    return url
  }

  /**
   * @param {string} path
   * @param {Query} [query]
   * @param {AbortSignal} [signal]
   */
  async get(path, query, signal) {
    return (await this.#request(this.url(path, query), { signal })).json()
  }

  /** @param {string} path */
  async text(path) {
    return (await this.#request(this.url(path), {})).text()
  }

  /**
   * Send a change; the answer's JSON, or null where the server has nothing to say.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {Record<string, string>} [headers]
   */
  async send(method, path, body, headers = {}) {
    const json = body === undefined ? {} : { body: JSON.stringify(body) }
    const answer = await this.#request(this.url(path), {
      method,
      headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...headers },
      ...json,
    })
    return answer.status === 204 ? null : answer.json()
  }

  /**
   * @param {URL} url
   * @param {RequestInit} init
   */
  async #request(url, init) {
    const answer = await fetch(url, init).catch((error) => {
      if (error.name === "AbortError") throw error
      throw new Problem(0, { code: "unreachable", detail: this.#i18n.t("problem.unreachable") })
    })
    if (answer.ok) return answer
    if (answer.status === 401) this.dispatchEvent(new Event("unauthorized"))
    throw new Problem(answer.status, await answer.json().catch(() => ({}))) // a proxy's error page is no JSON
  }
}
