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

// The questions that the page still has to ask the server: one at a time, the most urgent first. A question that
// fails stays open, and is retried by the next `go`.

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
   * Resolves once this is answered.
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
   * Ask this instead of all open questions, whose answers are of no use any more.
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
   * Ask one question; returns whether the next one may be asked.
   * @param {string} question
   */
  async #ask(question) {
    const { signal } = this.#request
    this.#open.delete(question) // before the request, so that an add() meanwhile opens it again
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

// Keeps the page up to date: by the socket while it works, else by polling, and says which. A socket may be dead
// without an error (a laptop that slept, a proxy that dropped it). So after a long silence the page asks the server:
// no answer, or news that the socket did not bring, means that the socket is dead.

const TICK_MS = 2_000
const SILENCE_MS = 10_000
/** The socket brings within this time what an answer of the server has told. */
const LAG_MS = 1_000
/** The socket begins with what has changed in these seconds, */
const SINCE_S = 10
/** so if it opens within this time after the list was asked for, nothing was missed in between. */
const COVERED_MS = 8_000

/** Fires "back" when the server answers again, and "away" when `isAway` (dom.js) has changed. */
export class Connection extends EventTarget {
  #element = byId("connection", HTMLElement)
  /** Says what is wrong, wherever the reader has scrolled to. */
  #line = byId("offline", HTMLElement)
  #feed
  #questions
  #i18n
  #isRunning = false
  #isListed = false // a first page was loaded, which can be brought up to date
  #isTrue = false // nothing was missed since the socket opened
  #askedAt = -Infinity // when the list was asked for that the socket is to go on from
  #isDown = false
  #checkedAt = 0 // when the silence of the open socket was last looked into
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

  /** List everything anew and keep it true. Without a session the list is refused, and the log-in shows. */
  start() {
    this.#isRunning = true
    this.#isListed = false
    this.#askedAt = performance.now()
    this.#questions.replace("first")
    this.#questions.add("session") // for the menu: whether there is one to log out of
    this.#show()
  }

  stop() {
    this.#isRunning = false
    this.#feed.stop()
    this.#questions.clear()
  }

  /** Load the list anew: the reader has changed the filter. */
  list() {
    if (!this.#isRunning) return
    this.#questions.replace("first")
    if (!this.#isTrue && this.#feed.isOpen) this.#questions.add("deep") // counts have to be right, too
  }

  /** Load everything again, in another language. */
  renew() {
    if (this.#isRunning) this.#connect()
  }

  /** A request was not answered: look whether the server is there. */
  doubt() {
    if (!this.#problem) this.#check()
  }

  /** An answer of the server was news, which the socket has to bring, too; if it does not, it is dead. */
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
    else this.#questions.go() // retry what failed
  }

  /** Ask for news that the socket may have missed: it is down, or may be dead. */
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
    if (error.status === 401) return // the log-in form shows that
    this.#problem = error.status === 0 ? this.#i18n.t("problem.unreachable") : error.message
    if (error.status === 0 && this.#feed.isOpen) this.#connect() // what broke the request has broken the socket, too
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
    setText(this.#element, line ? "" : this.#i18n.t(isLive ? "connection.live" : "connection.connecting")) // said once
  }
}
