// @ts-check
// The one socket of the page. While it is down the page polls, and the feed tries again, ever more calmly.

const POLL_MS = 2_000
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 30_000

/**
 * Fires "live" (list now: what comes later arrives by itself), "down", "poll" (list: the socket is down),
 * "task" with a payload and "removed" with an id in `detail`.
 */
export class Feed extends EventTarget {
  #url
  /** @type {WebSocket | null} */
  #socket = null
  #failures = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retryTimer
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pollTimer

  /** @param {() => URL} url  asked anew for each connection: the language may have changed */
  constructor(url) {
    super()
    this.#url = url
    window.addEventListener("online", () => this.hurry())
  }

  start() {
    this.stop()
    this.#pollTimer = setInterval(() => this.#fire("poll"), POLL_MS) // until the socket opens
    this.#connect()
  }

  stop() {
    clearTimeout(this.#retryTimer)
    clearInterval(this.#pollTimer)
    this.#pollTimer = undefined
    const socket = this.#socket
    this.#socket = null // before the close: its events are nobody's any more
    socket?.close()
  }

  /** The server is back, as far as anyone knows: do not wait for the next try. */
  hurry() {
    if (this.#socket || this.#pollTimer === undefined) return
    this.#failures = 0
    this.#connect()
  }

  #connect() {
    clearTimeout(this.#retryTimer)
    const socket = new WebSocket(this.#url())
    this.#socket = socket
    const listen = (/** @type {string} */ type, /** @type {(event: any) => void} */ then) =>
      socket.addEventListener(type, (event) => this.#socket === socket && then(event))
    listen("open", () => this.#opened())
    listen("close", () => this.#closed())
    listen("message", (event) => this.#received(JSON.parse(event.data)))
  }

  #opened() {
    this.#failures = 0
    clearInterval(this.#pollTimer)
    this.#pollTimer = undefined
    this.#fire("live")
  }

  #closed() {
    this.#socket = null
    this.#retryTimer = setTimeout(() => this.#connect(), retryDelay(this.#failures++))
    this.#pollTimer ??= setInterval(() => this.#fire("poll"), POLL_MS)
    this.#fire("down")
    this.#fire("poll")
  }

  /** @param {any} message */
  #received(message) {
    if (message.removed) this.#fire("removed", message.task_id)
    else this.#fire("task", message)
  }

  /**
   * @param {string} type
   * @param {unknown} [detail]
   */
  #fire(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }))
  }
}

/**
 * Doubling, and spread: a thousand pages must not come back in the same instant.
 * @param {number} failures
 */
function retryDelay(failures) {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS)
  return longest * (0.5 + Math.random() / 2)
}
