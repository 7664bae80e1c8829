// @ts-check
// The one WebSocket of the page. When it is lost the feed reconnects, with exponential back-off.

import { Problem } from "../base/api.js"
import { byId, isAway, on, setText } from "../base/dom.js"

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

  /** The seconds before now whose changes the socket sends first; "": it sends changes from now on. */
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
   * Connect anew, and give up a socket that may be open.
   * @param {string} [since] for the first try
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
    this.#socket = null // removed before the close, so that its events are ignored
    socket?.close()
  }

  /** Connect at once, because the server answers again. */
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
 * Return the pause before the next try: exponential back-off with jitter, so that a thousand pages do not
 * reconnect in the same instant.
 * @param {number} failures
 */
function retryDelay(failures) {
  const longest = Math.min(FIRST_RETRY_MS * 2 ** failures, LAST_RETRY_MS)
  return longest * (0.5 + Math.random() / 2)
}

// The questions that the page still has to ask the server, one at a time, the most urgent first. A question
// that fails stays open, and the next `go` repeats it.

/** Fires "answered" with {question, result} in `detail`, and "failed" with the error. */
export class Questions extends EventTarget {
  #questions
  /** @type {Set<string>} */
  #open = new Set()
  #isAsking = false
  #request = new AbortController()

  /** @param {Record<string, (signal: AbortSignal) => Promise<unknown>>} questions  the most urgent first */
  constructor(questions) {
    super()
    this.#questions = questions
  }

  get isAsking() {
    return this.#isAsking
  }

  /** @param {string} name  whether this is still to be asked */
  has(name) {
    return this.#open.has(name)
  }

  /** @param {string} name */
  add(name) {
    this.#open.add(name)
    return this.go()
  }

  /**
   * Resolve once this question is answered.
   * @param {string} name
   * @returns {Promise<void>}
   */
  answered(name) {
    return new Promise((resolve) => {
      const heard = (/** @type {any} */ { detail }) => {
        if (detail.question !== name) return
        this.removeEventListener("answered", heard)
        resolve()
      }
      this.addEventListener("answered", heard)
      this.add(name)
    })
  }

  /**
   * Ask this question instead of all open ones, whose answers are of no use any more.
   * @param {string} name
   */
  replace(name) {
    this.clear()
    return this.add(name)
  }

  clear() {
    this.#open.clear()
    this.#request.abort()
    this.#request = new AbortController()
  }

  async go() {
    if (this.#isAsking) return
    this.#isAsking = true
    let isWell = true
    for (let name = this.#next(); name && isWell; name = this.#next()) isWell = await this.#ask(name)
    this.#isAsking = false
  }

  #next() {
    return Object.keys(this.#questions).find((name) => this.#open.has(name))
  }

  /**
   * Ask one question; return whether the next one may be asked.
   * @param {string} question
   */
  async #ask(question) {
    const { signal } = this.#request
    this.#open.delete(question) // removed before the request, so that an add() meanwhile opens it again
    try {
      const result = await this.#questions[question](signal)
      if (!signal.aborted) this.dispatchEvent(new CustomEvent("answered", { detail: { question, result } }))
      return true
    } catch (error) {
      if (signal.aborted) return true
      this.#open.add(question)
      this.dispatchEvent(new CustomEvent("failed", { detail: error }))
      return false
    }
  }
}

// Keeps the page up to date, by the socket while it works and else by polling, and shows which. A socket may
// be dead without an error (a laptop that slept, a proxy that dropped it). So after a long silence the page
// asks the server: if no answer comes, or if the answer has news that the socket did not bring, the socket is
// dead.

const TICK_MS = 2_000
const SILENCE_MS = 10_000
/** Within this time, the socket brings every change that an answer of the server has shown. */
const LAG_MS = 1_000
/** The socket begins with the changes of so many seconds before it opened. */
const SINCE_S = 10
/** If the socket opens within this time after the request for the list, no change was missed in between. */
const COVERED_MS = 8_000

/** Fires "back" when the server answers again, and "away" when `isAway` (dom.js) has changed. */
export class Connection extends EventTarget {
  #element = byId("connection", HTMLElement)
  /** The line that says what is wrong; it is in sight wherever the reader has scrolled. */
  #line = byId("offline", HTMLElement)
  #feed
  #questions
  #i18n
  #isRunning = false
  #isListed = false // whether a first page was loaded, which can be brought up to date
  #isTrue = false // whether no change was missed since the socket opened
  #askedAt = -Infinity // when the list was requested after which the socket goes on
  #isDown = false
  #checkedAt = 0 // when the silence of the open socket was last checked
  #isChecking = false
  #problem = "" // why the last question was not answered

  /**
   * @param {Feed} feed
   * @param {Questions} questions  with "session", "first", "deep" and "look" among its questions
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(feed, questions, i18n) {
    super()
    this.#feed = feed
    this.#questions = questions
    this.#i18n = i18n
    on(feed, "live", () => this.#opened())
    on(feed, "down", () => this.#lost())
    on(questions, "answered", (answer) => this.#answered(answer))
    on(questions, "failed", (error) => this.#failed(error))
    setInterval(() => this.#tick(), TICK_MS)
    for (const type of ["online", "offline", "pageshow"]) on(window, type, () => this.#check())
    for (const type of ["visibilitychange", "resume"]) on(document, type, () => this.#check())
  }

  /**
   * Load the list anew and keep it up to date. Without a session the list is refused, and the log-in is
   * shown.
   */
  start() {
    this.#isRunning = true
    this.#isListed = false
    this.#askedAt = performance.now()
    this.#questions.replace("first")
    this.#questions.add("session") // the menu needs to know whether there is a session to log out of
    this.#show()
  }

  stop() {
    this.#isRunning = false
    this.#feed.stop()
    this.#questions.clear()
  }

  /** Load the list anew after a change of the filter. */
  list() {
    if (!this.#isRunning) return
    this.#questions.replace("first")
    // Counts have to be brought up to date, too.
    if (!this.#isTrue && this.#feed.isOpen) this.#questions.add("deep")
  }

  /** Load everything again, in another language. */
  renew() {
    if (this.#isRunning) this.#connect()
  }

  /** Check whether the server is there, because a request was not answered. */
  doubt() {
    if (!this.#problem) this.#check()
  }

  /** Note that an answer had news. If the socket does not bring the same soon, it is dead. */
  async told() {
    const { heardAt } = this.#feed
    await new Promise((resolve) => setTimeout(resolve, LAG_MS))
    if (this.#isRunning && this.#feed.isOpen && this.#feed.heardAt === heardAt) this.#connect()
  }

  #connect() {
    this.#isTrue = false
    this.#askedAt = -Infinity
    this.#feed.start()
    this.#show()
  }

  #opened() {
    this.#isDown = false
    if (performance.now() - this.#askedAt < COVERED_MS) this.#isTrue = true
    else this.#questions.add(this.#isListed ? "deep" : "first")
    this.#show()
  }

  #lost() {
    this.#isDown = true
    this.#isTrue = false
    this.#askedAt = -Infinity
    this.#isChecking = false
    this.#check()
    this.#show()
  }

  #tick() {
    if (!this.#isRunning || this.#questions.isAsking) return
    const quietFor = performance.now() - Math.max(this.#feed.heardAt, this.#checkedAt)
    if (!this.#feed.isOpen || quietFor > SILENCE_MS) this.#check()
    else this.#questions.go() // repeats the questions that have failed
  }

  /** Ask for news that the socket may have missed, because it is down or may be dead. */
  #check() {
    if (!this.#isRunning || !this.#isListed) return void this.#questions.go()
    this.#isChecking = this.#feed.isOpen
    this.#checkedAt = performance.now()
    this.#questions.add("look")
  }

  /** @param {{question: string, result: unknown}} answer */
  #answered({ question, result }) {
    const isBack = this.#problem !== ""
    this.#problem = ""
    const isFirst = question === "first" && !this.#isListed
    if (isFirst) this.#isListed = true
    if (isFirst) this.#feed.start(String(SINCE_S))
    else if (isBack) this.#feed.hurry()
    if (isBack) this.dispatchEvent(new Event("back"))
    if (question === "first" || question === "deep") {
      this.#isTrue = this.#feed.isOpen && !this.#questions.has("deep")
    }
    if (question === "look" && this.#isChecking && result) this.told()
    this.#show()
  }

  /** @param {unknown} error */
  #failed(error) {
    if (!(error instanceof Problem)) return reportError(error)
    if (error.status === 401) return // the log-in form says so
    this.#problem = error.status === 0 ? this.#i18n.t("problem.unreachable") : error.message
    // The fault of the request has broken the socket, too.
    if (error.status === 0 && this.#feed.isOpen) this.#connect()
    this.#show()
  }

  #show() {
    const isLive = this.#isTrue && this.#feed.isOpen
    const state = this.#problem ? "unreachable" : isLive ? "live" : this.#isDown ? "polling" : "connecting"
    this.#element.dataset.state = state
    const wasAway = isAway()
    document.documentElement.toggleAttribute("data-away", state === "unreachable")
    if (isAway() !== wasAway) this.dispatchEvent(new Event("away"))
    const line = this.#problem || (state === "polling" ? this.#i18n.t("offline.polling") : "")
    setText(this.#line, line)
    // Screen readers hear it once only.
    setText(this.#element, line ? "" : this.#i18n.t(isLive ? "connection.live" : "connection.connecting"))
  }
}
