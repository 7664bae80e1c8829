// @ts-check
// Sends the links of the box, several as one batch. A refused link comes back with its reason; links that
// could not be sent are sent once the server answers again. Meanwhile the box takes the next links.

import { Problem } from "../base/api.js"
import { byId } from "../base/dom.js"
import { ownedPath, owners } from "../tasks/task.js"

/** The most links that the server takes in one request. */
const BATCH = 500
/** Links that could not be sent are retried after this time, or earlier once the server answers again. */
const AGAIN_MS = 5_000
/** Statuses that refuse the link itself; after any other error the next link would fail, too. */
const LINK_REFUSED = [400, 413, 422]

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {{task?: Task, problem?: Problem}} Result */
/** @typedef {{refused: Map<string, Problem>, rest: string[], problem: Problem | null}} Outcome  `rest` was not taken, for this problem */

/**
 * Fires "sending" with links in `detail` that are about to leave the box, "taken" when they have, "task" with a payload in `detail`, and "done" with how many were accepted
 * and how many came back.
 */
export class Submit extends EventTarget {
  #form = byId("submit", HTMLFormElement)
  #box
  #options
  #api
  #i18n
  /**
   * Links for which no answer came, with their extra fields and their owner. They are sent once the server
   * answers again.
   */
  #waiting = { links: /** @type {string[]} */ ([]), more: {}, owner: "" }
  /** Idempotency keys of unanswered requests: a retry of the same body has the same key. @type {Map<string, string>} */
  #keys = new Map()
  /**
   * The request that was sent last: the next links wait for its end, so that tasks have the order of the
   * links.
   */
  #last = Promise.resolve()
  #underWay = 0

  /**
   * @param {import("./box.js").Box} box
   * @param {import("./options.js").Options} options
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {() => boolean} isComplete  false: the reader has to answer a question first
   */
  constructor(box, options, api, i18n, isComplete) {
    super()
    this.#box = box
    this.#options = options
    this.#api = api
    this.#i18n = i18n
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault()
      if (isComplete()) this.send()
    })
  }

  /** Send the waiting links, since the server answers again, unless they were edited meanwhile. */
  back() {
    const { links, more, owner } = this.#waiting
    const left = links.filter((link) => this.#box.links.includes(link))
    if (left.length) this.#send(left, more, owner)
  }

  /**
   * Send everything in the box.
   * @param {object} [more] fields of the request beside the options
   */
  async send(more = {}) {
    const { links } = this.#box
    if (!links.length) return this.#box.focus()
    await this.#send(links, more, owners.chosen)
  }

  /**
   * Take the links out of the box, which is free for the next ones, and send them; links that are not
   * accepted come back.
   * @param {string[]} links
   * @param {object} more
   * @param {string} owner for whom; "": who is logged in
   */
  async #send(links, more, owner) {
    const request = { ...this.#options.request, ...more }
    const chosen = this.#options.forget()
    this.#waiting = { links: [], more: {}, owner: "" }
    this.dispatchEvent(new CustomEvent("sending", { detail: links }))
    if (this.#box.hasFocus) this.#box.focus() // the focus was on the button, or on a question that is gone
    this.#box.take(links)
    this.dispatchEvent(new Event("taken"))
    this.#form.ariaBusy = String(++this.#underWay > 0)
    const sending = this.#last.then(() => this.#sendAll(links, request, owner))
    this.#last = sending.then(() => {}, () => {})
    const { refused, rest, problem } = await sending.finally(() => {
      this.#form.ariaBusy = String(--this.#underWay > 0)
    })
    const back = [...refused.keys(), ...rest]
    if (back.length) {
      this.#box.putBack(back)
      this.#options.restore(chosen)
    }
    const isUnanswered = problem?.status === 0
    const noLink = this.#i18n.t("submit.no_link")
    const reasons = new Map(
      [...refused].map(([link, { message }]) => [link, /^https?:/i.test(link) ? message : noLink]),
    )
    if (problem && !isUnanswered) reasons.set("", problem.message)
    if (reasons.size) this.#box.complain(reasons)
    if (isUnanswered) {
      this.#waiting = { links: rest, more, owner }
      this.#box.say(this.#i18n.t("submit.kept"))
      setTimeout(() => this.back(), AGAIN_MS)
    }
    const detail = { taken: links.length - back.length, refused: back.length }
    this.dispatchEvent(new CustomEvent("done", { detail }))
  }

  /**
   * Send one request that is not from the box, with the options that are chosen there.
   * @param {object} request
   * @param {string} [owner]  for whom
   */
  async sendOne(request, owner) {
    const [{ task }] = await this.#sendPart([{ ...this.#options.request, ...request }], owner)
    this.dispatchEvent(new CustomEvent("task", { detail: task }))
  }

  /**
   * @param {string[]} links
   * @param {object} request  without the link
   * @param {string} owner
   * @returns {Promise<Outcome>}
   */
  async #sendAll(links, request, owner) {
    /** @type {Map<string, Problem>} */
    const refused = new Map()
    for (let from = 0; from < links.length; from += BATCH) {
      const part = links.slice(from, from + BATCH)
      try {
        const results = await this.#sendPart(part.map((url) => ({ url, ...request })), owner)
        /** @type {string[]} */
        const over = []
        for (const [at, { task, problem }] of results.entries()) {
          if (task) this.dispatchEvent(new CustomEvent("task", { detail: task }))
          if (problem?.code === "over_limit") over.push(part[at])
          else if (problem) refused.set(part[at], problem)
        }
        if (over.length) {
          const problem = results.find((result) => result.problem?.code === "over_limit")?.problem ?? null
          // One message for all links.
          return { refused, rest: [...over, ...links.slice(from + BATCH)], problem }
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
   * @param {string} [owner]
   * @returns {Promise<Result[]>}
   * @throws {Problem} if none of them was taken
   */
  async #sendPart(requests, owner) {
    const isOne = requests.length === 1
    const body = isOne ? requests[0] : { requests }
    const sameness = JSON.stringify([owner, body])
    const key = this.#keys.get(sameness) ?? randomKey()
    this.#keys.set(sameness, key)
    const path = ownedPath(isOne ? "api/process" : "api/process/batch", owner)
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
