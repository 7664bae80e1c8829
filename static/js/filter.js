// @ts-check
// Which tasks are shown: asked of the server for pages, and of every task that the feed brings.

/** @typedef {import("./task.js").Task} Task */

const SEARCH_PAUSE_MS = 250

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

/** Fires "change". */
export class Filter extends EventTarget {
  #choice = "all"
  #text = ""

  /** @param {HTMLFormElement} form */
  constructor(form) {
    super()
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let pause
    form.addEventListener("submit", (event) => event.preventDefault())
    form.addEventListener("input", () => {
      clearTimeout(pause)
      const data = new FormData(form)
      const typing = this.#text !== String(data.get("q")).trim()
      pause = setTimeout(() => this.#read(data), typing ? SEARCH_PAUSE_MS : 0)
    })
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
   * The same answer that the server would give.
   * @param {Task} task
   */
  matches(task) {
    const { status, stage } = CHOICES[this.#choice]
    if ((status && task.status !== status) || (stage && task.stage !== stage)) return false
    const { title = "", uploader = "" } = task.video_info
    const text = this.#text.toLowerCase()
    return [title, uploader, task.url].some((field) => field.toLowerCase().includes(text))
  }

  /** @param {FormData} data */
  #read(data) {
    this.#choice = String(data.get("show"))
    this.#text = String(data.get("q")).trim()
    this.dispatchEvent(new Event("change"))
  }
}
