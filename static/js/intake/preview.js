// @ts-check
// A preview of the one link in the box, fetched while the reader goes on; nothing ever waits for it.

import { Problem } from "../base/api.js"
import { arrange, byId, on, setText } from "../base/dom.js"
import { isPlayable, kindsOf, saveLink } from "../row/files.js"
import { hostOf, titleOf } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/** A link is looked at when it has not changed for this long: typing changes it with each key. */
const PAUSE_MS = 400
/** `POST /api/info` takes as long as the source. */
const PATIENCE_MS = 50_000
/** What is said of a page without a film, which may name a feed. */
const WITHOUT_FILM = ["unsupported_url", "no_media"]
/** The most formats in the menu, the best first. */
const MOST_FORMATS = 60

/** @typedef {{format_id: string, ext?: string, height?: number, vcodec?: string, acodec?: string, filesize?: number, filesize_approx?: number, tbr?: number, note?: string}} Format */
/** @typedef {{index?: number, title?: string, url?: string, duration?: number}} Entry */
/** @typedef {{title?: string, duration?: number, uploader?: string, webpage_url?: string, thumbnail?: string, formats?: Format[], entries?: Entry[], total_entries?: number, next_cursor?: string, live?: boolean, begins_at?: string, live_status?: string, mayNameFeed?: boolean}} Info */

/** Fires "info" with an Info in `detail` (null: there is none), and "ask" with "this", "all" or "choose". */
export class Preview extends EventTarget {
  #element = byId("preview", HTMLElement)
  #box
  #api
  #i18n
  #link = ""
  #request = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  #tasks
  #play
  #subscribe
  /** What is shown. @type {Info} */
  #info = {}
  /** What is known of the link, or why nothing is, in the reader's language. */
  #facts = () => ""
  /** A finished task of the link. @type {Task | undefined} */
  #had
  /** When the link was fetched, if its files are not here any more. */
  #fetched = ""

  /**
   * @param {object} parts
   * @param {import("./box.js").Box} parts.box
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {(task: Task) => unknown} parts.play
   * @param {(link: string) => unknown} parts.subscribe
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor({ box, api, tasks, play, subscribe, i18n }) {
    super()
    this.#api = api
    this.#tasks = tasks
    this.#play = play
    this.#subscribe = subscribe
    this.#i18n = i18n
    this.#box = box
    box.addEventListener("change", () => this.look())
    on(tasks, "removed", (ids) => ids.includes(this.#had?.task_id) && this.#gone())
    this.#part("asks").addEventListener("click", ({ target }) => {
      const ask = target instanceof Element ? target.closest("button")?.dataset.ask : ""
      if (ask === "play") this.#play(/** @type {Task} */ (this.#had))
      else if (ask === "follow") this.#subscribe(this.#link)
      else if (ask) this.dispatchEvent(new CustomEvent("ask", { detail: ask }))
    })
  }

  get link() {
    return this.#link
  }

  /** What can be chosen exactly. @returns {[value: string, label: string][]} */
  get formats() {
    const formats = (this.#info.formats ?? []).slice(0, MOST_FORMATS)
    return formats.map((format) => [format.format_id, wordsOf(format, this.#i18n)])
  }

  /** Look at the link in the box, if it is another one. */
  look() {
    this.#changed(this.#box.link)
  }

  /** Show it anew: the language, or what is known beside the look, has changed. */
  describe() {
    this.#show(this.#info, this.#facts)
  }

  /** Lead to the question which entries of the list are meant. */
  ask() {
    this.#part("asks").querySelector("button")?.focus()
  }

  /** @param {string} link */
  #changed(link) {
    if (link === this.#link) return
    if (!this.#link) this.#api.announce()
    this.#link = link
    this.#had = undefined
    this.#fetched = ""
    this.#request.abort()
    clearTimeout(this.#timer)
    this.#element.hidden = !link
    this.#show({}, () => (link ? this.#i18n.t("preview.looking") : ""))
    this.dispatchEvent(new CustomEvent("info", { detail: null }))
    if (link) this.#timer = setTimeout(() => this.#look(link), PAUSE_MS)
  }

  /** @param {string} link */
  async #look(link) {
    this.#request = new AbortController()
    const { signal } = this.#request
    this.#remember(link, [link])
    try {
      const how = { signal, patience: PATIENCE_MS }
      const info = await this.#api.send("POST", "api/info", { url: link }, {}, how)
      if (link !== this.#link) return
      this.#show(info, () => factsOf(info, this.#i18n).join(" · "))
      this.dispatchEvent(new CustomEvent("info", { detail: info }))
      if (info.webpage_url && info.webpage_url !== link) this.#remember(link, [link, info.webpage_url])
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof Problem)) throw error
      if (link !== this.#link) return
      this.#show({ mayNameFeed: WITHOUT_FILM.includes(error.body.error_code ?? "") }, () => error.message)
    }
  }

  /**
   * Find out whether a file of this link is there already, and say so.
   * @param {string} link  in the box
   * @param {string[]} links  that the same film may have
   */
  async #remember(link, links) {
    const query = { q: links.at(-1), status: "completed", limit: 20 }
    const { tasks } = await this.#api.get("api/tasks", query).catch(() => ({ tasks: [] })) // it is looked at all the same
    const had = [...tasks, this.#tasks.find(links, ({ stage }) => stage === "completed")].find((
      /** @type {Task | undefined} */ task,
    ) =>
      task && Object.keys(task.files).length > 0 &&
      [task.url, task.video_info.webpage_url ?? ""].some((each) => links.includes(each))
    ) ?? await this.#recall(link)
    if (link !== this.#link || this.#had) return
    this.#had = had
    if (had || this.#fetched) this.describe()
  }

  /** The files that were there are deleted. */
  #gone() {
    this.#had = undefined
    this.describe()
  }

  /**
   * The service remembers a video by other links, too, and longer than its task: return the task, if there still is one.
   * @param {string} link
   * @returns {Promise<Task | undefined>}
   */
  async #recall(link) {
    const known = await this.#api.get("api/media", { url: link }).catch(() => null) // a 404: it was never fetched
    if (!known || link !== this.#link) return
    const { task_id, fetched_at } = known
    const task = task_id ? await this.#api.get(`api/status/${task_id}`).catch(() => null) : null
    if (task && Object.keys(task.files).length) return task
    if (link === this.#link) this.#fetched = fetched_at
  }

  /**
   * @param {Info} info
   * @param {() => string} facts
   */
  #show(info, facts) {
    this.#info = info
    this.#facts = facts
    const image = /** @type {HTMLImageElement} */ (this.#part("thumbnail"))
    const host = this.#link ? hostOf(/** @type {any} */ ({ url: this.#link, video_info: {} })) : ""
    image.hidden = !info.thumbnail?.startsWith("data:image/")
    if (!image.hidden) image.src = info.thumbnail ?? ""
    setText(this.#part("letter"), host.slice(0, 1).toUpperCase())
    setText(this.#part("title"), info.title ?? (this.#had ? titleOf(this.#had) : host))
    const before = this.#fetched &&
      this.#i18n.t("preview.fetched", { day: this.#i18n.format.moment(new Date(this.#fetched)) })
    setText(
      this.#part("facts"),
      this.#had ? this.#i18n.t("preview.have") : [before, facts()].filter(Boolean).join(" · "),
    )
    this.#element.toggleAttribute("data-had", this.#had !== undefined)
    // Those that are there already stay: one of them may have the focus, or be about to be pressed.
    const there = [...this.#part("asks").children]
    const wanted = [...this.#questions(info), ...this.#offers()].map((made) =>
      there.find((control) => control.isEqualNode(made)) ?? made
    )
    arrange(this.#part("asks"), /** @type {HTMLElement[]} */ (wanted))
  }

  /** @param {Info} info */
  #questions({ entries, total_entries, next_cursor, mayNameFeed }) {
    if (!entries?.length && (!mayNameFeed || this.#fetched)) return []
    const count = total_entries ?? (next_cursor ? 0 : entries?.length)
    const follow = this.#i18n.t("list.follow")
    const words = mayNameFeed ? { follow } : {
      this: this.#i18n.t("list.this"),
      all: count ? this.#i18n.t("list.all", { n: count }) : this.#i18n.t("list.every"),
      choose: this.#i18n.t("list.choose"),
      follow,
    }
    return Object.entries(words).map(([ask, textContent]) => {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent })
      button.dataset.ask = ask
      return button
    })
  }

  /** What can be done with a file that is there already. */
  #offers() {
    if (!this.#had) return []
    const [kind] = kindsOf(this.#had)
    const play = Object.assign(document.createElement("button"), { type: "button" })
    play.textContent = this.#i18n.t("action.play")
    play.dataset.ask = "play"
    const again = Object.assign(document.createElement("button"), { type: "submit" })
    again.textContent = this.#i18n.t("action.again")
    return [...(isPlayable(this.#had) ? [play] : []), saveLink(this.#had, kind, this.#i18n), again]
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#element.querySelector(`[data-part=${name}]`))
  }
}

/**
 * @param {Info} info
 * @param {import("../base/i18n.js").I18n} i18n
 */
function factsOf(
  { entries, total_entries, next_cursor, duration, uploader, formats = [], live, begins_at },
  i18n,
) {
  if (entries?.length) {
    const n = total_entries ?? entries.length
    return [i18n.t(!total_entries && next_cursor ? "preview.entries_more" : "preview.entries", { n })]
  }
  const height = Math.max(0, ...formats.map((format) => format.height ?? 0))
  const size = Math.max(0, ...formats.map((format) => format.filesize ?? format.filesize_approx ?? 0))
  return [
    live ? i18n.t("preview.live") : "",
    begins_at && !live ? i18n.t("preview.upcoming", { time: i18n.format.moment(new Date(begins_at)) }) : "",
    duration ? i18n.format.clock(duration) : "",
    size ? i18n.t("preview.about", { size: i18n.format.size(size) }) : "",
    height ? i18n.t("preview.qualities", { height: String(height) }) : "",
    uploader ?? "",
  ].filter(Boolean)
}

/**
 * @param {Format} format
 * @param {import("../base/i18n.js").I18n} i18n
 */
function wordsOf({ format_id, ext, height, vcodec, acodec, filesize, filesize_approx, note }, i18n) {
  const size = filesize ?? filesize_approx
  const codecs = [vcodec, acodec].filter((codec) => codec && codec !== "none")
  const names = codecs.map((codec) => codec?.split(".")[0])
  const facts = [height ? `${height}p` : note, ext, ...names, size ? i18n.format.size(size) : ""]
  return `${format_id}: ${facts.filter(Boolean).join(" · ")}`
}
