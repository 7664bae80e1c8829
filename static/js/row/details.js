// @ts-check
// The details of an opened row, which its line does not show: the files, remedies after a failure, more
// facts, and the log.

import { ACTIONS, iconOf, menuOf, textOf } from "./actions.js"
import { fetched, Problem } from "../base/api.js"
import { fromTemplate, setFacts, setText, unbroken } from "../base/dom.js"
import { icon, iconButton, make, searchField } from "../base/elements.js"
import { hasLibrary } from "../base/library.js"
import { placeOf } from "./facts.js"
import { kindName, kindsOf, playableKinds, saveAllLink, saveLink } from "./files.js"
import { LinkList } from "./links.js"
import { isFinal, VISIBLE, webLink } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/** A list with at least so many entries can be searched; fewer are in sight at once. */
const MANY_ENTRIES = 10
/**
 * The common names of codecs by ffmpeg's names; other names are shown in capitals.
 * @type {Record<string, string>}
 */
const CODECS = { h264: "H.264", hevc: "H.265" }

/** @param {import("../base/i18n.js").I18n} i18n */
function makeParts(i18n) {
  /** @type {Record<string, any>} */
  const parts = {}
  /** @param {string} name @param {keyof HTMLElementTagNameMap} tag @param {Record<string, any>} [more] @param {...(Node | string)} children */
  const part = (name, tag, more = {}, ...children) =>
    parts[name] = make(tag, { "data-part": name, ...more }, ...children)
  const button = (/** @type {string} */ name) =>
    part(name, "button", { type: "button" }, i18n.t(`log.${name}`))
  const log = i18n.t("action.log")
  const element = make(
    "div",
    { className: "details" },
    part("kept", "p", { className: "kept" }),
    part("files", "div", { className: "files" }),
    part("links", "div"),
    part("placing", "div"),
    part("hint", "p", { className: "hint" }),
    part("acts", "div", { className: "remedies" }),
    part("code", "code"),
    part("facts", "dl"),
    part(
      "log",
      "details",
      { className: "log" },
      part("summary", "summary", {}, icon("chevron"), " ", make("span", {}, log)),
      part("text", "pre", { tabIndex: 0, "aria-label": log }),
      make("p", { className: "log-empty" }, i18n.t("log.empty")),
      make("p", { className: "log-acts" }, button("reload"), " ", button("copy")),
    ),
  )
  return { element, parts }
}

export class Details {
  element
  #parts
  #page
  #log
  #shown = ""
  #files = ""
  #acts = ""
  /** The search field of a list with many entries. @type {EntrySearch | undefined} */
  #search
  /** @type {LinkList | undefined} */
  #links
  /** The state on which the shown buttons for the library depend. */
  #placing = ""

  /**
   * @param {Task} task
   * @param {object} page
   * @param {import("../base/i18n.js").I18n} page.i18n
   * @param {import("../base/api.js").Api} page.api
   * @param {import("../list/pages.js").Source} page.source
   * @param {import("../list/shown.js").ShownList} page.shown
   * @param {() => import("../list/rows.js").Rows} page.rows
   */
  constructor(task, page) {
    const { element, parts } = makeParts(page.i18n)
    this.element = element
    this.#parts = parts
    this.#page = page
    this.#log = new LogView(parts, task.task_id, page.api)
    this.show(task)
  }

  /**
   * Return the entries of a list that a search has found, or all without a search.
   * @param {Task[]} entries
   */
  foundOf(entries) {
    const found = this.#search?.found
    return found ? entries.filter(({ task_id }) => found.has(task_id)) : entries
  }

  /** @param {Task} task */
  show(task) {
    const { i18n } = this.#page
    this.#log.follow(!isFinal(task))
    // The shown files are of an earlier attempt while a new one is under way.
    const isOld = !isFinal(task) && Object.keys(task.files).length > 0
    setText(this.#parts.kept, isOld ? i18n.t("card.kept") : "")
    this.#offerFiles(task)
    this.#offerLinks(task)
    setText(this.#parts.hint, task.hint ?? "")
    setText(this.#parts.code, task.stage === "failed" ? (task.error_code ?? "") : "")
    this.#offerActs(task)
    this.#list(task)
    if (task.entries) this.#foldFacts()
    this.#offerSearch(task)
    this.#offerPlacing(task)
  }

  openLog() {
    this.#log.open()
  }

  close() {
    this.#log.stop()
    this.#links?.close()
    this.#search?.stop()
  }

  /** @param {Task} task */
  #offerSearch({ task_id, entries }) {
    const total = entries?.total ?? 0
    if (total < MANY_ENTRIES && !this.#search) return
    const { source, shown, rows, i18n } = this.#page
    if (!this.#search) {
      const changed = () => shown.hasOpen(task_id) && rows().render(() => shown.unfold(task_id))
      this.#search = new EntrySearch((text) => source.entries(task_id, text), changed, i18n)
      this.element.append(this.#search.element)
    }
    this.#search.show(total)
  }

  /**
   * Return the buttons that put files into the library, if they do not get there by themselves.
   * @param {Task} task
   */
  async #offerPlacing(task) {
    const { state, reason } = task.library ?? {}
    const isDone = task.stage === "completed" && !task.entries && Object.keys(task.files).length > 0
    const isStuck = !state || reason === "blocked" || reason === "files_gone"
    const placing = isDone && isStuck ? `${task.task_id} ${reason}` : ""
    if (placing === this.#placing) return
    this.#placing = placing
    this.#parts.placing.replaceChildren()
    if (!placing || !await hasLibrary(this.#page.api)) return
    const { Placing } = await fetched(import("./placing.js"), this.#page.i18n)
    if (placing === this.#placing) this.#parts.placing.replaceChildren(new Placing(task, this.#page).element)
  }

  /** @param {Task} task */
  #list(task) {
    const facts = this.#facts(task)
    const shown = JSON.stringify(facts)
    if (shown === this.#shown) return // nothing has changed: the reader's selection of text stays
    this.#shown = shown
    this.#parts.facts.replaceChildren(...facts.flatMap(([name, text, href]) => {
      const [term, value] = [document.createElement("dt"), document.createElement("dd")]
      term.textContent = this.#page.i18n.t(`details.${name}`)
      if (href) {
        const link = Object.assign(document.createElement("a"), { href, textContent: text })
        value.append(Object.assign(link, { target: "_blank", rel: "noopener noreferrer" }))
      } else value.append(Object.assign(document.createElement("bdi"), { textContent: text }))
      return [term, value]
    }))
  }

  /** Request the missing entries of a list, which are shown below it. */
  #foldFacts() {
    const { facts, log, summary } = this.#parts
    if (log.contains(facts)) return
    summary.after(facts)
    setText(summary.querySelector("span"), this.#page.i18n.t("details.and_log"))
  }

  /**
   * @param {Task} task
   * @returns {[name: string, text: string, href?: string][]}
   */
  #facts(task) {
    const { format } = this.#page.i18n
    const { uploader, duration, width, height, webpage_url } = task.video_info
    const link = webLink(webpage_url) ?? webLink(task.url)
    const isSaid = task.stage === "completed" // the line of the row says it already
    const hasPicture = height && (!isSaid || "video" in task.files) // a file with sound alone has no picture
    /** @type {[string, string | undefined, string?][]} */
    const facts = [
      ["uploader", isSaid ? "" : uploader],
      ["length", duration && !isSaid ? format.clock(duration) : ""],
      ["picture", hasPicture ? (width ? `${width} × ${height}` : isSaid ? "" : `${height}p`) : ""],
      ["library", task.library && isSaid ? placeOf(task.library, this.#page.i18n) : ""],
      ["source", link?.href ?? task.url, link?.href],
      ["created", format.whole(new Date(task.created_at))],
      ["completed", task.completed_at && format.whole(new Date(task.completed_at))],
      ["attempt", task.attempt > 1 ? String(task.attempt) : ""],
    ]
    return /** @type {[string, string, string?][]} */ (facts.filter(([, text = ""]) => VISIBLE.test(text)))
  }

  /**
   * Show each file with its facts, and buttons to play and save it.
   * @param {Task} task
   */
  #offerFiles(task) {
    const files = JSON.stringify([task.files, task.file_info])
    if (files === this.#files) return // nothing has changed: the focus on these links stays
    this.#files = files
    const playable = playableKinds(task)
    this.#parts.files.replaceChildren(
      ...kindsOf(task).map((kind) => {
        const { i18n } = this.#page
        const play = iconButton("play", i18n.t("action.play"), () => {}) // the list handles the click
        Object.assign(play.dataset, { action: "play", kind })
        play.hidden = !playable.includes(kind)
        const about = make("span", { className: "about" })
        setFacts(about, fileFacts(task, kind, i18n).map(unbroken))
        const name = make("span", { className: "kind" }, kindName(kind, i18n))
        return make("div", { className: "file" }, play, name, about, saveLink(task, kind, i18n))
      }),
    )
  }

  /**
   * Show the links that open files without a log-in, if there are any.
   * @param {Task} task
   */
  #offerLinks(task) {
    if (this.#links || !kindsOf(task).length) return
    this.#links = new LinkList(task.task_id, this.#page)
    this.#parts.links.append(this.#links.element)
    this.#links.load()
  }

  /**
   * Show buttons with words: the remedies after a failure, and the actions on a list.
   * @param {Task} task
   */
  #offerActs(task) {
    const { i18n } = this.#page
    // The first remedy has its button in the row.
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
 * Describe a file, such as "MP4, 1080p, H.264, 158 MB" or "M4A, AAC, 128 kbit/s, 5 MB".
 * @param {Task} task
 * @param {string} kind
 * @param {import("../base/i18n.js").I18n} i18n
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
    // For MP3, Opus and the like, one name is enough.
    coding === container || coding.startsWith("PCM") ? "" : coding,
    rate ? `${rate} kbit/s` : "",
    size === undefined ? "" : i18n.format.size(size),
  ].filter(Boolean)
}

/**
 * Searches the entries of a list. Only the server can say which contain the text: it has its own rules of
 * equal letters.
 */
class EntrySearch {
  element
  /** The ids of the entries that were found; null without a search. @type {Set<string> | null} */
  found = null
  #said = make("span", { className: "lead", role: "status" })
  #total = 0
  #text = ""
  #ask
  #changed
  #i18n
  #asked = 0

  /**
   * @param {(text: string) => Promise<Task[]>} ask
   * @param {() => unknown} changed
   * @param {import("../base/i18n.js").I18n} i18n
   */
  constructor(ask, changed, i18n) {
    this.#ask = ask
    this.#changed = changed
    this.#i18n = i18n
    const field = searchField(i18n.t("entries.search"), (text) => {
      this.#text = text
      this.#find()
    })
    this.element = make("p", { className: "entry-search" }, field, this.#said)
  }

  /** @param {number} total  how many entries there are: others may have come that hold the text */
  show(total) {
    if (total === this.#total) return
    this.#total = total
    if (this.#text) this.#find()
  }

  stop() {
    this.#asked += 1
  }

  async #find() {
    const asked = ++this.#asked
    /** @type {Task[] | Problem | null} */
    const found = this.#text
      ? await this.#ask(this.#text).catch((error) => {
        if (error instanceof Problem) return error
        throw error
      })
      : null
    if (asked !== this.#asked) return // the reader has changed the search meanwhile
    if (found instanceof Problem) return setText(this.#said, found.message)
    this.found = found && new Set(found.map(({ task_id }) => task_id))
    const values = { n: this.found?.size ?? 0, total: this.#total }
    setText(this.#said, this.found ? this.#i18n.t("entries.some", values) : "")
    this.#changed()
  }
}

const AGAIN_MS = 2_000

/** The log of a task, as it grows. */
class LogView {
  #parts
  #path
  #api
  #isOpen = false
  #isGrowing = false
  #asked = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {Record<string, any>} parts
   * @param {string} id
   * @param {import("../base/api.js").Api} api
   */
  constructor(parts, id, api) {
    this.#parts = parts
    this.#path = `api/tasks/${id}/log`
    this.#api = api
    parts.log.addEventListener("toggle", () => this.#toggled())
    parts.copy.addEventListener("click", () => navigator.clipboard?.writeText(parts.text.textContent))
    parts.copy.hidden = !navigator.clipboard // browsers offer the clipboard over HTTPS only
    parts.reload.addEventListener("click", () => this.#load())
  }

  open() {
    this.#parts.log.open = true
  }

  /** @param {boolean} isGrowing  whether more is to come */
  follow(isGrowing) {
    if (this.#isGrowing === isGrowing) return
    this.#isGrowing = isGrowing
    if (this.#isOpen) this.#load() // once more after the end of the task, for the last lines
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
    const asked = ++this.#asked
    const log = await this.#api.text(this.#path).catch((error) => {
      if (error instanceof Problem) return error.message
      throw error
    })
    if (asked !== this.#asked || !this.#isOpen || !this.#parts.text.isConnected) return
    const { text } = this.#parts
    const isAtEnd = text.scrollTop + text.clientHeight >= text.scrollHeight - 4
    setText(text, log)
    text.toggleAttribute("data-empty", !log)
    if (isAtEnd) text.scrollTop = text.scrollHeight // shows the last lines, which say what happened
    if (this.#isGrowing) this.#timer = setTimeout(() => this.#load(), AGAIN_MS)
  }
}
