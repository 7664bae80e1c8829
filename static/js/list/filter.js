// @ts-check
// Which tasks contain the text of the search: only the server can say, because it has its own rules of equal
// letters.

import { SORTS } from "./order.js"
import { isAsking, owners, RUNNING_STAGES, WAITING_STAGES } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

export class Findings {
  /** The server's last answer on a task, and the task as it was then. @type {Map<string, {isIn: boolean, task: Task}>} */
  #said = new Map()

  /** @param {Task[]} tasks  as the server listed them */
  found(tasks) {
    for (const task of tasks) this.#said.set(task.task_id, { isIn: true, task })
  }

  /**
   * Note that the server did not list these tasks. It searches by stage, so it may have missed a task that
   * has changed its stage meanwhile: "no match" holds only for the stage in which the task was.
   * @param {Task[]} tasks as they were when the server was asked
   */
  missed(tasks) {
    for (const task of tasks) this.#said.set(task.task_id, { isIn: false, task })
  }

  /**
   * Return whether the task contains the text; undefined: ask the server.
   * @param {Task} task
   */
  has(task) {
    const said = this.#said.get(task.task_id)
    if (!said || wordsOf(said.task) !== wordsOf(task)) return undefined
    return said.isIn || said.task.stage === task.stage ? said.isIn : undefined
  }
}

/** @param {Task} task */
const wordsOf = ({ url, video_info: { title, uploader } }) => JSON.stringify([url, title, uploader])

// The rule of the list: which tasks belong to it by the reader's choice, and how the server is asked for
// them.

/** @typedef {{status?: string, stages?: readonly import("../tasks/task.js").Stage[]}} Choice */

/**
 * Each choice of the filter, with the status or the stages of the tasks that it shows.
 * @type {Record<string, Choice>}
 */
export const CHOICES = {
  all: {},
  active: { stages: RUNNING_STAGES },
  waiting: { stages: WAITING_STAGES },
  completed: { status: "completed" },
  failed: { stages: ["failed"] },
  cancelled: { stages: ["cancelled"] },
}

export class Rule {
  #choice
  #text
  #findings = new Findings()

  /**
   * @param {string} choice
   * @param {string} text  that is searched for
   * @param {string} sort
   * @param {string} owner  whose tasks are shown; "": everybody's
   */
  constructor(choice = "all", text = "", sort = SORTS[0], owner = "") {
    this.owner = owner
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

  /** Return the parameters of the page's address that keep the rule; none for the default. */
  get address() {
    return {
      show: this.#choice === "all" ? "" : this.#choice,
      q: this.#text,
      owner: this.owner,
      sort: this.sort === SORTS[0] ? "" : this.sort,
    }
  }

  /** Return the rule as the query of `GET /api/tasks`. */
  get query() {
    const { status, stages } = CHOICES[this.#choice]
    const folded = this.isFolded ? "1" : undefined
    return { sort: this.sort, status, stage: stages?.join(","), q: this.#text, owner: this.owner, folded }
  }

  /** Return whether entries are shown only under their list; in a search, each entry has a row of its own. */
  get isFolded() {
    return !this.#text
  }

  get isAll() {
    return this.#choice === "all" && !this.#text && !this.owner
  }

  /**
   * Return whether the task belongs to the list; undefined: only the server can say.
   * @param {Task} task
   */
  matches(task) {
    const { status, stages } = CHOICES[this.#choice]
    if (this.#choice === "failed" && isAsking(task)) return false
    if ((status && task.status !== status) || (stages && !stages.includes(task.stage))) return false
    if (this.isFolded && task.playlist_id) return false
    if (this.owner && owners.of(task) !== this.owner) return false
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

// The reader's choice of filter and order; the page's address keeps it, so it outlasts a reload.

const SEARCH_PAUSE_MS = 250

/** Fires "change". */
export class Filter extends EventTarget {
  rule = new Rule()
  #form
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #pause

  /** @param {HTMLFormElement} form */
  constructor(form) {
    super()
    this.#form = form
    this.#restore(new URLSearchParams(location.search))
    form.addEventListener("submit", (event) => event.preventDefault())
    const changed = (/** @type {any} */ event) => {
      clearTimeout(this.#pause)
      // A word is still being composed, such as the letters of a Chinese one, and nobody searches for it.
      if (event.isComposing) return
      const isTyping = this.#text !== this.rule.text
      this.#pause = setTimeout(() => this.#read(), isTyping ? SEARCH_PAUSE_MS : 0)
    }
    for (const type of ["input", "compositionend"]) form.addEventListener(type, changed)
  }

  /** Go to the search; on a narrow screen the filter is folded until it is asked for. */
  search() {
    document.documentElement.toggleAttribute("data-finding", true)
    this.#field("q").focus()
  }

  /**
   * Search all tasks for this text; "" shows everything.
   * @param {string} [text]
   */
  clear(text = "") {
    this.#restore(new URLSearchParams({ q: text }))
    this.#read()
  }

  get #text() {
    return String(new FormData(this.#form).get("q")).trim()
  }

  /** @param {URLSearchParams} query */
  #restore(query) {
    const [show, sort] = [query.get("show") ?? "", query.get("sort") ?? ""]
    this.#field("show").value = show in CHOICES ? show : "all"
    this.#field("sort").value = SORTS.includes(sort) ? sort : SORTS[0]
    this.#field("q").value = query.get("q") ?? ""
    const owner = this.#field("owner") // the field exists only if there are several people
    if (owner) owner.value = query.get("owner") ?? ""
    this.#choose()
  }

  /**
   * @param {string} name
   * @returns {any}
   */
  #field(name) {
    return this.#form.elements.namedItem(name)
  }

  #choose() {
    const data = new FormData(this.#form)
    const [show, sort, owner] = ["show", "sort", "owner"].map((name) => String(data.get(name) ?? ""))
    this.rule = new Rule(show, this.#text, sort, owner)
  }

  #read() {
    this.#choose()
    const url = new URL(location.href)
    for (const [name, value] of Object.entries(this.rule.address)) {
      if (value) url.searchParams.set(name, value)
      else url.searchParams.delete(name)
    }
    history.replaceState(null, "", url)
    this.dispatchEvent(new Event("change"))
  }
}
