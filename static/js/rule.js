// @ts-check
// Which tasks belong to a list, as the reader chose it, and what the server is asked for it.

import { Findings } from "./findings.js"
import { SORTS } from "./sections.js"
import { RUNNING_STAGES, WAITING_STAGES } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/** @typedef {{status?: string, stages?: readonly import("./task.js").Stage[]}} Choice */

/** What each choice asks for. @type {Record<string, Choice>} */
export const CHOICES = {
  all: {},
  active: { stages: RUNNING_STAGES },
  waiting: { stages: WAITING_STAGES },
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
   * @param {string} sort
   */
  constructor(choice = "all", text = "", sort = SORTS[0]) {
    this.#choice = choice
    this.#text = text
    this.sort = sort
  }

  get text() {
    return this.#text
  }

  get choice() {
    return this.#choice
  }

  /** The parameters of the page's address that hold the rule; empty: the default. */
  get address() {
    return {
      show: this.#choice === "all" ? "" : this.#choice,
      q: this.#text,
      sort: this.sort === SORTS[0] ? "" : this.sort,
    }
  }

  /** As the query of `GET /api/tasks`. */
  get query() {
    const { status, stages } = CHOICES[this.#choice]
    return { sort: this.sort, status, stage: stages?.join(","), q: this.#text }
  }

  get isAll() {
    return this.#choice === "all" && !this.#text
  }

  /**
   * Whether the task belongs to the list; undefined: only the server can say.
   * @param {Task} task
   */
  matches(task) {
    const { status, stages } = CHOICES[this.#choice]
    if ((status && task.status !== status) || (stages && !stages.includes(task.stage))) return false
    return this.#text ? this.#findings.has(task) : true
  }

  /** @param {Task[]} tasks  that the server listed */
  found(tasks) {
    if (this.#text) this.#findings.found(tasks)
  }

  /** @param {Task[]} tasks  that the server would have listed if they belonged to the list */
  missed(tasks) {
    if (this.#text) this.#findings.missed(tasks)
  }
}
