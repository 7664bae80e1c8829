// @ts-check
// What an opened row shows below its line: all that is known of the task, its files, and its log.

import { primaryOf } from "./choices.js"
import { fromTemplate, setText } from "./dom.js"
import { fileFacts, kindName, kindsOf, saveLink } from "./files.js"
import { LogView } from "./log.js"
import { isFinal, titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Details {
  element
  #parts
  #i18n
  #log
  #shown = ""
  #files = ""

  /**
   * @param {Task} task
   * @param {import("./i18n.js").I18n} i18n
   * @param {import("./api.js").Api} api
   */
  constructor(task, i18n, api) {
    const { element, parts } = fromTemplate("details", i18n)
    this.element = element
    this.#parts = parts
    this.#i18n = i18n
    this.#log = new LogView(parts, task.task_id, api)
    this.show(task)
  }

  /** @param {Task} task */
  show(task) {
    this.#log.follow(!isFinal(task))
    setText(this.#parts.hint, task.hint ?? "")
    const isOld = !isFinal(task) && Object.keys(task.files).length > 0 // a new attempt is under way
    setText(this.#parts.kept, isOld ? this.#i18n.t("card.kept") : "")
    this.#list(task)
    this.#offer(task)
  }

  openLog() {
    this.#log.open()
  }

  close() {
    this.#log.stop()
  }

  /** @param {Task} task */
  #list(task) {
    const facts = this.#facts(task)
    const shown = JSON.stringify(facts)
    if (shown === this.#shown) return // what the reader selects in them stays selected
    this.#shown = shown
    this.#parts.facts.replaceChildren(...facts.flatMap(([name, text, href]) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")]
      term.textContent = this.#i18n.t(`details.${name}`)
      if (href) {
        const link = Object.assign(document.createElement("a"), { href, textContent: text })
        value.append(Object.assign(link, { target: "_blank", rel: "noopener noreferrer" }))
      } else value.textContent = text
      value.dir = "auto"
      return [term, value]
    }))
  }

  /**
   * @param {Task} task
   * @returns {[name: string, text: string, href?: string][]}
   */
  #facts(task) {
    const { format } = this.#i18n
    const { uploader, duration, width, height, webpage_url, extractor } = task.video_info
    const link = webLink(webpage_url) ?? webLink(task.url)
    /** @type {[string, string | undefined, string?][]} */
    const facts = [
      ["title", titleOf(task)],
      ["error", task.error],
      ["source", link?.href ?? task.url, link?.href],
      ["uploader", uploader],
      ["site", extractor],
      ["length", duration ? format.clock(duration) : ""],
      ["picture", height ? (width ? `${width} × ${height}` : `${height}p`) : ""],
      ["created", format.whole(new Date(task.created_at))],
      ["completed", task.completed_at && format.whole(new Date(task.completed_at))],
      ["attempt", task.attempt ? String(task.attempt) : ""],
      ["state", task.message],
    ]
    return /** @type {[string, string, string?][]} */ (facts.filter(([, text]) => text))
  }

  /** @param {Task} task */
  #offer(task) {
    const offered = primaryOf(task) === "save" ? kindsOf(task)[0] : "" // by the row itself
    const files = JSON.stringify([task.files, task.file_info, offered])
    if (files === this.#files) return // the same links: leave the reader's focus on them
    this.#files = files
    this.#parts.files.replaceChildren(
      ...kindsOf(task).map((kind) => this.#file(task, kind, kind !== offered)),
    )
  }

  /**
   * @param {Task} task
   * @param {string} kind
   * @param {boolean} isLink
   */
  #file(task, kind, isLink) {
    const [row, name, about] = ["p", "span", "span"].map((tag) => document.createElement(tag))
    name.textContent = kindName(kind, this.#i18n)
    name.className = "kind"
    about.textContent = fileFacts(task, kind, this.#i18n)
    row.append(isLink ? saveLink(task, kind, this.#i18n) : name, about)
    return row
  }
}
