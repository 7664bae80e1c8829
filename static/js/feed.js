// @ts-check
// The one WebSocket of the page. When it is lost the feed reconnects, with exponential back-off.

const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 30_000
/** A handshake that takes longer is given up. */
const OPEN_WITHIN_MS = 10_000
/** The close code of a session that has ended. */
const SESSION_ENDED = 1008

/**
 * Fires "live" (load the list now: later changes come over the socket), "down", "ended" (the session is over),
 * "task" with a payload and "removed" with an id in `detail`.
 */
export class Feed extends EventTarget {
  /** When the socket last brought something. */
  heardAt = 0
  #url
  /** @type {WebSocket | null} */
  #socket = null
  #isRunning = false
  #failures = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} for the handshake, or for the next try */
  #timer

  /** Seconds: the socket is to begin with what changed so lately; "": with what changes from now on. */
  #since = ""

  /** @param {(since: string) => URL} url  asked anew for each connection: the language may have changed */
  constructor(url) {
    super()
    this.#url = url
  }

  get isOpen() {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  /**
   * Connect, in place of a socket that may be open.
   * @param {string} [since]  for the first try
   */
  start(since = "") {
    this.stop()
    this.#since = since
    this.#isRunning = true
    this.#failures = 0
    this.#connect()
  }

  stop() {
    this.#isRunning = false
    clearTimeout(this.#timer)
    const socket = this.#socket
    this.#socket = null // before the close, so that its events are ignored
    socket?.close()
  }

  /** The server answers again: do not wait for the next try. */
  hurry() {
    if (this.#isRunning && !this.#socket) this.start()
  }

  #connect() {
    const socket = new WebSocket(this.#url(this.#since))
    this.#since = ""
    this.#socket = socket
    const listen = (/** @type {string} */ type, /** @type {(event: any) => void} */ then) =>
      socket.addEventListener(type, (event) => this.#socket === socket && then(event))
    listen("open", () => this.#opened())
    listen("close", ({ code }) => this.#closed(code))
    listen("message", ({ data }) => this.#received(JSON.parse(data)))
    this.#timer = setTimeout(() => this.#giveUp(), OPEN_WITHIN_MS)
  }

  #opened() {
    clearTimeout(this.#timer)
    this.#failures = 0
    this.heardAt = performance.now()
    this.#fire("live")
  }

  #giveUp() {
    this.#socket?.close()
    this.#closed()
  }

  /** @param {number} [code] */
  #closed(code) {
    clearTimeout(this.#timer)
    this.#socket = null
    if (code === SESSION_ENDED) return this.#fire("ended")
    this.#timer = setTimeout(() => this.#connect(), retryDelay(this.#failures++))
    this.#fire("down")
  }

  /** @param {any} message */
  #received(message) {
    this.heardAt = performance.now()
    if (message?.removed) this.#fire("removed", message.task_id)
    else if (message?.revision) this.#fire("task", message)
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
 * Exponential back-off with jitter: a thousand pages must not reconnect in the same instant.
 * @param {number} failures
 */
function retryDelay(failures) {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS)
  return longest * (0.5 + Math.random() / 2)
}
