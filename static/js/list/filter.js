// @ts-check
// Which tasks hold the text that is searched for: only the server can say (it folds letters its own way).

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
   * The server did not list these tasks. It was asked for some by stage, so a task that has changed its stage
   * meanwhile may have been missed: that it does not match holds for this stage only.
   * @param {Task[]} tasks  as they were when the server was asked
   */
  missed(tasks) {
    for (const task of tasks) this.#said.set(task.task_id, { isIn: false, task })
  }

  /**
   * Whether the task holds the text; undefined: ask the server.
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

// Which tasks belong to a list, as the reader chose it, and what the server is asked for it.

/** @typedef {{status?: string, stages?: readonly import("../tasks/task.js").Stage[]}} Choice */

/** What each choice asks for. @type {Record<string, Choice>} */
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

  /** The parameters of the page's address that hold the rule; empty: the default. */
  get address() {
    return {
      show: this.#choice === "all" ? "" : this.#choice,
      q: this.#text,
      owner: this.owner,
      sort: this.sort === SORTS[0] ? "" : this.sort,
    }
  }

  /** As the query of `GET /api/tasks`. */
  get query() {
    const { status, stages } = CHOICES[this.#choice]
    const folded = this.isFolded ? "1" : undefined
    return { sort: this.sort, status, stage: stages?.join(","), q: this.#text, owner: this.owner, folded }
  }

  /** Whether entries stand under their list only; where the reader searches each stands by itself. */
  get isFolded() {
    return !this.#text
  }

  get isAll() {
    return this.#choice === "all" && !this.#text && !this.owner
  }

  /**
   * Whether the task belongs to the list; undefined: only the server can say.
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

// The reader's choice of what is shown, and in which order. It stands in the page's address, so it outlasts a reload.

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
      if (event.isComposing) return // letters of a Chinese word, say, which nobody looks for
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
   * Show everything that has this text; "": everything.
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
    const owner = this.#field("owner") // only where there are several people
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
