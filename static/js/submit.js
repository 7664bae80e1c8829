// @ts-check
// Sends what is in the box: several links as one batch. A line that is refused stays there, with its reason, and
// what could not be sent is sent once the server answers again.

import { byId } from "./dom.js"
import { Problem } from "./problem.js"

/** As many as the server takes at once. */
const BATCH = 500
/** Links that could not be sent are retried after this time, or earlier once the server answers again. */
const AGAIN_MS = 5_000
/** Statuses that refuse the link itself; after any other error the next link would fail, too. */
const LINK_REFUSED = [400, 413, 422]

/** @typedef {import("./task.js").Task} Task */
/** @typedef {{task?: Task, problem?: Problem}} Result */
/** @typedef {{refused: Map<string, Problem>, rest: string[], problem: Problem | null}} Outcome  `rest` was not taken, for this problem */

/** Fires "task" with a payload in `detail`, and "done" with how many were taken and how many stayed. */
export class Submit extends EventTarget {
  #form = byId("submit", HTMLFormElement)
  #box
  #options
  #api
  #i18n
  /** What is in the box could not be sent: it is sent once the server answers again. */
  #isWaiting = false
  /** Idempotency keys of unanswered requests: a retry of the same body has the same key. @type {Map<string, string>} */
  #keys = new Map()

  /**
   * @param {import("./box.js").Box} box
   * @param {import("./options.js").Options} options
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(box, options, api, i18n) {
    super()
    this.#box = box
    this.#options = options
    this.#api = api
    this.#i18n = i18n
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault()
      this.send()
    })
    box.addEventListener("change", () => (this.#isWaiting = false)) // a text that was edited is not sent by itself
  }

  /** The server answers again. */
  back() {
    if (this.#isWaiting) this.send()
  }

  /** @param {object} [more]  fields of the request beside the options */
  async send(more = {}) {
    const links = this.#box.links
    if (!links.length || this.#form.ariaBusy === "true") return this.#box.focus()
    if (this.#options.isWithoutOutputs) {
      this.#box.complain(new Map([["", this.#i18n.t("problem.outputs")]]))
      return this.#options.askForOutputs()
    }
    this.#box.busy(true)
    const outcome = await this.#sendAll(links, more).finally(() => this.#box.busy(false))
    this.#ended(links, outcome)
  }

  /**
   * Send one request that is not from the box, with the options that are chosen there.
   * @param {object} request
   */
  async sendOne(request) {
    const [{ task }] = await this.#sendPart([{ ...this.#options.request, ...request }])
    this.dispatchEvent(new CustomEvent("task", { detail: task }))
  }

  /**
   * @param {string[]} links
   * @param {Outcome} outcome
   */
  #ended(links, { refused, rest, problem }) {
    const stayed = [...refused.keys(), ...rest]
    this.#box.fill(stayed.join("\n"))
    const reasons = new Map([...refused].map(([link, { message }]) => [link, message]))
    if (problem) reasons.set("", problem.message)
    this.#box.complain(reasons)
    this.#isWaiting = problem?.status === 0
    if (this.#isWaiting) {
      this.#box.say(this.#i18n.t("submit.kept"))
      setTimeout(() => this.back(), AGAIN_MS)
    }
    const detail = { taken: links.length - stayed.length, refused: stayed.length }
    this.dispatchEvent(new CustomEvent("done", { detail }))
    if (this.#box.hasFocus) this.#box.focus() // the reader may be elsewhere by now
  }

  /**
   * @param {string[]} links
   * @param {object} more
   * @returns {Promise<Outcome>}
   */
  async #sendAll(links, more) {
    /** @type {Map<string, Problem>} */
    const refused = new Map()
    for (let from = 0; from < links.length; from += BATCH) {
      const part = links.slice(from, from + BATCH)
      try {
        const results = await this.#sendPart(part.map((url) => ({ url, ...this.#options.request, ...more })))
        for (const [at, { task, problem }] of results.entries()) {
          if (task) this.dispatchEvent(new CustomEvent("task", { detail: task }))
          if (problem) refused.set(part[at], problem)
        }
      } catch (error) {
        if (!(error instanceof Problem)) throw error
        const isOfLink = links.length === 1 && LINK_REFUSED.includes(error.status)
        if (isOfLink) refused.set(links[0], error)
        else return { refused, rest: links.slice(from), problem: error }
      }
    }
    return { refused, rest: [], problem: null }
  }

  /**
   * @param {object[]} requests
   * @returns {Promise<Result[]>}
   * @throws {Problem} if none of them was taken
   */
  async #sendPart(requests) {
    const isOne = requests.length === 1
    const body = isOne ? requests[0] : { requests }
    const sameness = JSON.stringify(body)
    const key = this.#keys.get(sameness) ?? randomKey()
    this.#keys.set(sameness, key)
    const path = isOne ? "api/process" : "api/process/batch"
    const answer = await this.#api.send("POST", path, body, { "Idempotency-Key": key })
    this.#keys.delete(sameness)
    return isOne ? [{ task: answer }] : answer.results.map(asResult)
  }
}

/** @param {any} result  of a batch */
function asResult({ status, task, problem }) {
  return problem ? { problem: new Problem(status, problem) } : { task }
}

/** `crypto.randomUUID` is missing where the page is read over plain http from another machine. */
const randomKey = () => crypto.getRandomValues(new Uint32Array(4)).join("-")
