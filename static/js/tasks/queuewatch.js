// @ts-check
// Waits for a pause of the queue, or its end. A held request takes one of the few connections that a browser
// has to a server. So only one tab waits, the one that was shown last, and tells the others.

import { Problem } from "../base/api.js"

/** How long the server holds a request. */
const WAIT_S = 30
/** The answer has to begin within this time, which is less than `Api` allows. */
const PATIENCE_MS = 50_000
/** Time between two requests, however soon the first was answered. */
const PAUSE_MS = 1_000
/** ms between two requests after one without an answer. */
const AGAIN_MS = 5_000
/** The waiting tab tells the others of each request: after a silence of this length it counts as gone. */
const SILENT_MS = 90_000

/** @typedef {{paused: boolean, stages: Record<string, number>, asking: number}} Queue */

/** Fires "answer" with a Queue in `detail`. */
export class QueueWatch extends EventTarget {
  #api
  /** The state of the queue that this tab knows. */
  #isPaused = false
  #isOn = false
  /** When this tab began to wait. If two tabs wait, the one that began later goes on. */
  #since = 0
  #request = new AbortController()
  #tabs = new BroadcastChannel(`clipwire queue ${new URL("./", document.baseURI).pathname}`)
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #silence

  /** @param {import("../base/api.js").Api} api */
  constructor(api) {
    super()
    this.#api = api
    this.#tabs.addEventListener("message", ({ data }) => this.#isOn && this.#told(data))
    document.addEventListener("visibilitychange", () => !document.hidden && this.#isOn && this.#wait())
    addEventListener("pageshow", ({ persisted }) => persisted && this.#isOn && this.#wait())
    addEventListener("pagehide", () => this.#leave())
  }

  /** @param {boolean} isPaused  as it is known by now */
  start(isPaused) {
    this.#isPaused = isPaused
    if (this.#isOn) return
    this.#isOn = true
    this.#wait()
  }

  stop() {
    if (!this.#isOn) return
    this.#leave()
    this.#isOn = false
  }

  /** Stop waiting, so that another tab can. */
  #leave() {
    this.#request.abort()
    clearTimeout(this.#silence)
    if (this.#isOn) this.#tabs.postMessage({ free: true })
  }

  /** @param {{since?: number, free?: boolean, answer?: Queue}} news  of another tab */
  #told({ since, free, answer }) {
    if (answer) this.#heard(answer)
    if (free) return void this.#wait()
    clearTimeout(this.#silence)
    this.#silence = setTimeout(() => this.#wait(), SILENT_MS)
    if (since && since > this.#since) this.#request.abort()
  }

  /** @param {Queue} answer */
  #heard(answer) {
    this.#isPaused = answer.paused
    this.dispatchEvent(new CustomEvent("answer", { detail: answer }))
  }

  /** Wait in place of the other tabs, until one of them begins to wait. */
  async #wait() {
    this.#request.abort()
    const { signal } = this.#request = new AbortController()
    this.#since = Date.now() + Math.random()
    clearTimeout(this.#silence)
    while (!signal.aborted) {
      this.#tabs.postMessage({ since: this.#since })
      const pause = await this.#ask(signal)
      if (pause === null) return
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
  }

  /**
   * Send one held request; return the pause before the next one, or null if there is to be none.
   * @param {AbortSignal} signal
   */
  async #ask(signal) {
    try {
      const query = { paused: String(this.#isPaused), wait: WAIT_S, folded: 1 }
      const answer = await this.#api.get("api/queue", query, { signal, patience: PATIENCE_MS })
      if (signal.aborted) return null
      this.#heard(answer)
      this.#tabs.postMessage({ since: this.#since, answer })
      return PAUSE_MS
    } catch (error) {
      if (signal.aborted) return null
      if (!(error instanceof Problem)) throw error
      return [401, 404].includes(error.status) ? null : AGAIN_MS
    }
  }
}
