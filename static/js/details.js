// @ts-check
// What an opened row shows below its line, and what the line does not say: the files, what helps after a failure, what
// else is known, and the log.

import { ACTIONS, iconOf, menuOf, textOf } from "./actions.js"
import { Problem } from "./api.js"
import { fromTemplate, setText } from "./dom.js"
import { kindName, kindsOf, playableKinds, saveAllLink, saveLink } from "./files.js"
import { isFinal, titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/** What ffmpeg's names of codecs are called elsewhere; others are shown as they are, in capitals. @type {Record<string, string>} */
const CODECS = { h264: "H.264", hevc: "H.265" }

export class Details {
  element
  #parts
  #page
  #log
  #shown = ""
  #files = ""
  #acts = ""

  /**
   * @param {Task} task
   * @param {object} page
   * @param {import("./i18n.js").I18n} page.i18n
   * @param {import("./api.js").Api} page.api
   * @param {import("./tasks.js").Tasks} page.tasks
   */
  constructor(task, page) {
    const { element, parts } = fromTemplate("details", page.i18n)
    this.element = element
    this.#parts = parts
    this.#page = page
    this.#log = new LogView(parts, task.task_id, page.api)
    this.show(task)
  }

  /** @param {Task} task */
  show(task) {
    const { i18n } = this.#page
    this.#log.follow(!isFinal(task))
    const isOld = !isFinal(task) && Object.keys(task.files).length > 0 // a new attempt is under way
    setText(this.#parts.kept, isOld ? i18n.t("card.kept") : "")
    this.#offerFiles(task)
    setText(this.#parts.hint, task.hint ?? "")
    setText(this.#parts.code, task.stage === "failed" ? (task.error_code ?? "") : "")
    this.#offerActs(task)
    this.#list(task)
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
      term.textContent = this.#page.i18n.t(`details.${name}`)
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
    const { i18n: { format }, tasks } = this.#page
    const { uploader, duration, width, height, webpage_url } = task.video_info
    const link = webLink(webpage_url) ?? webLink(task.url)
    const list = task.playlist_id ? tasks.get(task.playlist_id) : undefined
    /** @type {[string, string | undefined, string?][]} */
    const facts = [
      ["list", list && titleOf(list)],
      ["uploader", uploader],
      ["length", duration ? format.clock(duration) : ""],
      ["picture", height ? (width ? `${width} × ${height}` : `${height}p`) : ""],
      ["source", link?.href ?? task.url, link?.href],
      ["created", format.whole(new Date(task.created_at))],
      ["completed", task.completed_at && format.whole(new Date(task.completed_at))],
      ["attempt", task.attempt > 1 ? String(task.attempt) : ""],
    ]
    return /** @type {[string, string, string?][]} */ (facts.filter(([, text]) => text))
  }

  /**
   * Each file with what it is, to be played and saved.
   * @param {Task} task
   */
  #offerFiles(task) {
    const files = JSON.stringify([task.files, task.file_info])
    if (files === this.#files) return // the same links: leave the reader's focus on them
    this.#files = files
    const playable = playableKinds(task)
    this.#parts.files.replaceChildren(
      ...kindsOf(task).map((kind) => {
        const { element, parts } = fromTemplate("file", this.#page.i18n)
        setText(parts.kind, kindName(kind, this.#page.i18n))
        setText(parts.about, fileFacts(task, kind, this.#page.i18n))
        parts.play.hidden = !playable.includes(kind)
        parts.play.dataset.kind = kind
        element.append(saveLink(task, kind, this.#page.i18n))
        return element
      }),
    )
  }

  /**
   * With words: what helps after a failure, and what can be done with a list.
   * @param {Task} task
   */
  #offerActs(task) {
    const { i18n } = this.#page
    // The first of all is in the row.
    const names = menuOf(task).filter((name) => {
      const { hasWords, isForMany } = ACTIONS[name]
      return hasWords || (task.entries && name !== "delete" && (isForMany || name === "save_entries"))
    })
    const acts = JSON.stringify(names.map((name) => [name, textOf(name, task, i18n)]))
    if (acts === this.#acts) return
    this.#acts = acts
    this.#parts.acts.replaceChildren(
      ...names.map((name) => {
        if (name === "save_entries") return saveAllLink(task, i18n)
        const { element, parts } = fromTemplate("action", i18n)
        element.dataset.action = name
        parts.icon.setAttribute("href", `#i-${iconOf(name)}`)
        setText(parts.words, textOf(name, task, i18n))
        return element
      }),
    )
  }
}

/**
 * What a file is: "MP4 · 1080p · H.264 · 158 MB", "M4A · AAC · 128 kbit/s · 5 MB".
 * @param {Task} task
 * @param {string} kind
 * @param {import("./i18n.js").I18n} i18n
 */
export function fileFacts(task, kind, i18n) {
  const { duration, height } = task.video_info
  const { size, title, codec = "" } = task.file_info?.[kind] ?? {}
  const rate = kind === "audio" && size && duration ? Math.round(size / 125 / duration) : 0
  const container = webLink(task.files[kind])?.pathname.split(".").at(-1)?.toUpperCase() ?? ""
  const coding = CODECS[codec] ?? codec.toUpperCase()
  return [
    title ?? "",
    container,
    kind === "video" && height ? `${height}p` : "",
    coding === container || coding.startsWith("PCM") ? "" : coding, // of "MP3", "OPUS" and the like once is enough
    rate ? `${rate} kbit/s` : "",
    size === undefined ? "" : i18n.format.size(size),
  ].filter(Boolean).join(" · ")
}

const AGAIN_MS = 2_000

/** The log of a task, as it grows. */
class LogView {
  #parts
  #path
  #api
  #isOpen = false
  #isGrowing = false
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {Record<string, any>} parts
   * @param {string} id
   * @param {import("./api.js").Api} api
   */
  constructor(parts, id, api) {
    this.#parts = parts
    this.#path = `api/tasks/${id}/log`
    this.#api = api
    parts.log.addEventListener("toggle", () => this.#toggled())
    parts.copy.addEventListener("click", () => navigator.clipboard?.writeText(parts.text.textContent))
    parts.copy.hidden = !navigator.clipboard // browsers offer it over HTTPS only
    parts.reload.addEventListener("click", () => this.#load())
  }

  open() {
    this.#parts.log.open = true
  }

  /** @param {boolean} isGrowing  whether more is to come */
  follow(isGrowing) {
    if (this.#isGrowing === isGrowing) return
    this.#isGrowing = isGrowing
    if (this.#isOpen) this.#load() // also the last lines, when the task has ended
  }

  stop() {
    this.#isOpen = false
    clearTimeout(this.#timer)
  }

  #toggled() {
    this.#isOpen = this.#parts.log.open
    if (this.#isOpen) this.#load()
    else clearTimeout(this.#timer)
  }

  async #load() {
    clearTimeout(this.#timer)
    const log = await this.#api.text(this.#path).catch((error) => {
      if (error instanceof Problem) return error.message
      throw error
    })
    if (!this.#isOpen || !this.#parts.text.isConnected) return
    const { text } = this.#parts
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 4
    setText(text, log)
    text.toggleAttribute("data-empty", !log)
    if (isAtEnd) text.scrollTop = text.scrollHeight // follow the log: its last lines say what happened
    if (this.#isGrowing) this.#timer = setTimeout(() => this.#load(), AGAIN_MS)
  }
}
