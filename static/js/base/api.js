// @ts-check

import { byId } from "./dom.js"

/**
 * Await a module that is imported on demand, with its texts and styles. A server that was upgraded meanwhile does not have this version any more.
 * @template T
 * @param {Promise<T>} module
 * @param {import("./i18n.js").I18n} i18n
 * @throws {Problem}
 */
export async function fetched(module, i18n) {
  try {
    const [found] = await Promise.all([module, i18n.whole(), styled()])
    return found
  } catch {
    throw new Problem(0, { code: "part_missing", detail: i18n.t("problem.part_missing") })
  }
}

/**
 * Load a style sheet that the first view does not need. A link in the markup would make Chromium fetch it at
 * once.
 */
async function styled() {
  const link = byId("later-sheet", HTMLLinkElement)
  if (link.sheet) return
  try {
    await new Promise((resolve, reject) => {
      link.addEventListener("load", resolve, { once: true })
      link.addEventListener("error", reject, { once: true })
      link.rel = "stylesheet"
      link.href = link.dataset.href ?? ""
    })
  } catch (error) {
    link.removeAttribute("href") // setting it again retries
    throw error
  }
}

/**
 * Texts of the page that explain a problem better than the server's, by the problem's code.
 * @type {Record<string, (body: any) => string>}
 */
export const sentences = {}

/** An error answer (problem details, RFC 9457), or no answer at all (`status` 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, error?: string, error_code?: string, title?: string, detail?: string, errors?: {field: string, message: string}[], checks?: any, ways?: string[]}} body
   */
  constructor(status, body) {
    const fields = (body.errors ?? []).map((error) => error.message)
    super(
      sentences[body.code ?? ""]?.(body) || fields.join(" ") || body.detail || body.title || `HTTP ${status}`,
    )
    this.status = status
    this.code = body.code ?? ""
    this.body = body
  }
}

// Requests to the server, in the reader's language. Every URL is relative: the page may live under a prefix.

/** @typedef {Record<string, string | number | undefined>} Query  undefined: left out */

/** An answer must begin within this time: a connection may be dead without reporting an error. */
const PATIENCE_MS = 20_000
/** The whole answer must have arrived within this time. */
const WHOLE_MS = 60_000
/** The statuses with which a proxy answers when it cannot reach the server. */
const OF_PROXY = [502, 503, 504]
/**
 * The number of connections that a browser has to one server, and the ms that an answer over one of them may
 * take.
 */
const LINES = 6
const LINE_MS = 2_000

/** Fires "unauthorized" when the server wants a log-in, with the ways that it names in `detail`, and "unreachable" when there is no answer. */
export class Api extends EventTarget {
  #i18n
  /**
   * How many sessions have begun. A request that was sent before the last one may still be refused, as it was
   * sent without that session.
   */
  #sessions = 0

  /** @param {import("./i18n.js").I18n} i18n */
  constructor(i18n) {
    super()
    this.#i18n = i18n
  }

  /** Note that a session has begun: requests that were sent before do not have its cookie. */
  begun() {
    this.#sessions++
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
    // %2C as a plain comma: 200 ids must fit into the request line.
    url.search = url.search.replaceAll("%2C", ",")
    return url
  }

  /**
   * The feed's address; like every other it carries the language.
   * @param {string} since
   */
  socketUrl(since) {
    const url = this.url("ws", { since })
    url.protocol = url.protocol.replace("http", "ws")
    return url
  }

  /**
   * @param {string} path
   * @param {Query} [query]
   * @param {{signal?: AbortSignal, patience?: number}} [how]  patience: ms until the answer has to begin
   */
  get(path, query, how) {
    return this.#request(this.url(path, query), {}, how)
  }

  /** @param {string} path */
  text(path) {
    return this.#request(this.url(path), {}, { read: (answer) => answer.text() })
  }

  /**
   * Send a change; returns the answer's JSON, or null for a 204.
   * @param {string} method
   * @param {string} path
   * @param {unknown} [body]
   * @param {Record<string, string>} [headers]
   * @param {{signal?: AbortSignal, patience?: number}} [how]
   */
  send(method, path, body, headers = {}, how = {}) {
    const json = body === undefined ? {} : { body: JSON.stringify(body) }
    if (body !== undefined) headers = { "Content-Type": "application/json", ...headers }
    return this.#request(this.url(path), { method, headers, ...json }, how)
  }

  /**
   * Tell the server that a link will probably be submitted soon, so that it starts what it has put to sleep.
   */
  announce() {
    // An error does not matter: submitting a link wakes the server as well.
    fetch(this.url("."), { method: "HEAD", cache: "no-store" }).catch(() => {})
  }

  /**
   * Send a change while the page is left: the request outlives the page.
   * @param {string} method
   * @param {string} path
   * @param {unknown} body
   * @returns {Promise<boolean>}  whether the server has done it; false, too, once it is given up
   */
  leave(method, path, body) {
    const headers = { "Content-Type": "application/json" }
    const signal = AbortSignal.timeout(PATIENCE_MS)
    return fetch(this.url(path), { method, headers, body: JSON.stringify(body), keepalive: true, signal })
      .then(({ ok }) => ok, () => false)
  }

  /**
   * @param {URL} url
   * @param {RequestInit} init
   * @param {{signal?: AbortSignal, patience?: number, read?: (answer: Response) => Promise<any>}} [how]
   */
  async #request(url, init, { signal, patience = PATIENCE_MS, read = readJson } = {}) {
    const late = abortedAfter(patience)
    const signals = [late.signal, AbortSignal.timeout(WHOLE_MS), ...(signal ? [signal] : [])]
    const session = this.#sessions
    try {
      const answer = await fetch(url, { ...init, signal: AbortSignal.any(signals) })
      late.keep()
      this.#i18n.setClock(answer.headers.get("Date"))
      if (answer.ok) return await read(answer)
      const problem = await this.#problem(answer)
      if (answer.status === 401 && session === this.#sessions) {
        this.dispatchEvent(new CustomEvent("unauthorized", { detail: problem.body.ways }))
      }
      throw problem
    } catch (error) {
      if (error instanceof Problem || signal?.aborted) throw error
      if (late.signal.aborted) await this.#giveUpLines()
      throw this.#unreachable()
    } finally {
      late.keep()
    }
  }

  // The browser reuses connections, also dead ones, each of which would cost PATIENCE_MS. A request over each
  // of them at the same time makes the browser drop those without an answer.
  async #giveUpLines() {
    const late = abortedAfter(LINE_MS)
    const ask = () => fetch(this.url("healthz"), { cache: "no-store", signal: late.signal }).catch(() => {})
    await Promise.all(Array.from({ length: LINES }, ask))
    late.keep()
  }

  /** @param {Response} answer */
  async #problem(answer) {
    const body = await answer.json().catch(() => null) // a proxy's error page is not JSON
    if (!body && OF_PROXY.includes(answer.status)) return this.#unreachable()
    return new Problem(answer.status, body ?? {})
  }

  #unreachable() {
    this.dispatchEvent(new Event("unreachable"))
    return new Problem(0, { code: "unreachable", detail: this.#i18n.t("problem.no_answer") })
  }
}

/** @param {Response} answer  if it is not JSON, it is not the server's but, for example, a captive portal's */
const readJson = async (answer) => (answer.status === 204 ? null : await answer.json())

/** @param {number} ms */
function abortedAfter(ms) {
  const controller = new AbortController()
  const timer = setTimeout(() => controller.abort(), ms)
  return { signal: controller.signal, keep: () => clearTimeout(timer) }
}
