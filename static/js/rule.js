// @ts-check
// Which tasks belong to a list, as the reader chose it, and what the server is asked for it.

import { Findings } from "./findings.js"

/** @typedef {import("./task.js").Task} Task */

/** What each choice asks the server for. @type {Record<string, {status?: string, stage?: string}>} */
const CHOICES = {
  all: {},
  active: { status: "processing" },
  download: { stage: "download" },
  queued: { stage: "queued" },
  paused: { stage: "paused" },
  completed: { status: "completed" },
  failed: { status: "error" },
}

export class Rule {
  #choice
  #text
  #findings = new Findings()

  /**
   * @param {string} choice
   * @param {string} text  that is searched for
   */
  constructor(choice = "all", text = "") {
    this.#choice = choice
    this.#text = text
  }

  /** As the query of `GET /api/tasks`. */
  get query() {
    return { ...CHOICES[this.#choice], q: this.#text }
  }

  get isAll() {
    return this.#choice === "all" && !this.#text
  }

  /** The queue alone is shown in its own order, next first; everything else newest first. */
  get isQueue() {
    return this.#choice === "queued"
  }

  /** What runs stands on top, also when it is older than the pages that were loaded. */
  get pinsRunning() {
    return this.#choice === "all" || this.#choice === "active"
  }

  /**
   * Whether the task belongs to the list; undefined: only the server can say.
   * @param {Task} task
   */
  matches(task) {
    const { status, stage } = CHOICES[this.#choice]
    if ((status && task.status !== status) || (stage && task.stage !== stage)) return false
    return this.#text ? this.#findings.has(task) : true
  }

  /** @param {Task[]} tasks  that the server listed */
  found(tasks) {
    if (this.#text) this.#findings.found(tasks)
  }

  /** @param {Task[]} tasks  that it would have listed if they belonged there */
  missed(tasks) {
    if (this.#text) this.#findings.missed(tasks)
  }
}
