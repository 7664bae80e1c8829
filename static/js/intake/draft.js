// @ts-check
// The draft: the first row of the list shows what the only link in the box leads to, with the most useful
// action. The page inspects the link while the reader goes on; nothing waits for the result.

import { Problem } from "../base/api.js"
import { arrange, byId, on, setFacts, setText } from "../base/dom.js"
import { button } from "../base/elements.js"
import { failureOf } from "../row/facts.js"
import { isPlayable, kindsOf, saveLink } from "../row/files.js"
import { hostOf, letterOf, looks, owners, titleOf, webLink } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/** A link is inspected when it has not changed for this long: typing changes it with each key. */
const PAUSE_MS = 400
/** ms to wait for `POST /api/info`, which takes as long as the source does. */
const PATIENCE_MS = 50_000
/** ms for which the button does nothing after its text has changed: a press was meant for the old text. */
const UNREAD_MS = 300
/** Error codes of pages without a film: such a page may name a feed. */
const WITHOUT_FILM = ["unsupported_url", "no_media"]
/** Words for videos that a download will hardly get. */
const GONE = ["http_404", "http_410", "unavailable"]
/** The most formats in the menu, the best first. */
const MOST_FORMATS = 60

/** @typedef {{format_id: string, ext?: string, height?: number, vcodec?: string, acodec?: string, filesize?: number, filesize_approx?: number, tbr?: number, note?: string}} Format */
/** @typedef {{index?: number, title?: string, url?: string, duration?: number, thumbnail?: string, published_at?: string}} Entry */
/** @typedef {{title?: string, duration?: number, uploader?: string, webpage_url?: string, thumbnail?: string, formats?: Format[], entries?: Entry[], total_entries?: number, next_cursor?: string, live?: boolean, begins_at?: string, live_status?: string, mayNameFeed?: boolean, isGone?: boolean}} Info */
/** @typedef {"download" | "choose" | "all" | "record" | "wait" | "play" | "save" | "follow" | "try"} Verb */

/** The draft. Fires "info" when the page knows more about the link. */
export class Draft extends EventTarget {
  #element = byId("draft", HTMLElement)
  #parts
  #link = ""
  #request = new AbortController()
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer
  /** What the service says of the link. @type {Info} */
  #info = {}
  /** The facts about the link, or the reason why there are none, in the reader's language. */
  #facts = () => ""
  /** A finished task of the link. @type {Task | undefined} */
  #had
  /** The time when the link was fetched, if its files are gone. */
  #fetched = ""
  /** The two buttons of the most useful action: one beside the box, one in the row of the link. */
  #buttons = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-part=go], [data-part=verb]")])
  /** The text of the button when the pointer went down on it. */
  #pressed = ""
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #unread

  /**
   * @param {object} parts
   * @param {import("./box.js").Box} parts.box
   * @param {import("./options.js").Options} parts.options
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {(link: string) => unknown} parts.subscribe
   * @param {() => unknown} parts.sendAgain
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    super()
    this.#parts = parts
    on(parts.box, "change", () => this.look())
    on(parts.options, "change", () => this.describe())
    for (const each of this.#buttons) {
      each.addEventListener("pointerdown", () => (this.#pressed = each.textContent))
      each.addEventListener("click", (event) => {
        const isOther = event.detail > 0 && this.#pressed !== each.textContent
        if (isOther || this.#isUnread) event.preventDefault()
      })
    }
    byId("links", HTMLElement).addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || !this.#isUnread) return
      event.preventDefault()
      event.stopImmediatePropagation() // before the box handles the click and sends the link
    }, true)
    on(parts.tasks, "removed", (ids) => ids.includes(this.#had?.task_id) && this.#gone())
  }

  get link() {
    return this.#link
  }

  /** Return what is known of the link in the box. */
  get info() {
    return this.#info
  }

  /** @returns {import("./options.js").Known} */
  get known() {
    const { title, entries, live, begins_at } = this.#info
    return { isVideo: Boolean(title && !entries), isLive: Boolean(live || begins_at) }
  }

  /** Return the finished task with the files of this link, if there is one. */
  get had() {
    return this.#had
  }

  /**
   * Return the exact formats that the reader can choose.
   * @returns {[value: string, label: string][]}
   */
  get formats() {
    const formats = (this.#info.formats ?? []).slice(0, MOST_FORMATS)
    return formats.map((format) => [format.format_id, wordsOf(format, this.#parts.i18n)])
  }

  /**
   * Return the most useful action for the link.
   * @returns {Verb}
   */
  get verb() {
    const { options } = this.#parts
    const { entries, live, begins_at, mayNameFeed, isGone } = this.#info
    const isMeantAsIs = !options.isOpen && !options.isTouched // with other options the link gives other files
    const isTheirs = !owners.chosen || this.#had?.owner === owners.chosen
    if (this.#had && isMeantAsIs && isTheirs) return isPlayable(this.#had) ? "play" : "save"
    if (entries?.length) return options.isOfLists ? "all" : "choose"
    if ((live || begins_at) && !options.chosen.live) return live ? "record" : "wait"
    if (isGone) return "try"
    return mayNameFeed && !this.#fetched ? "follow" : "download"
  }

  /** Inspect the link in the box, unless it is the same as before. */
  look() {
    const { link } = this.#parts.box
    if (link === this.#link) return
    if (!this.#link) this.#parts.api.announce()
    this.#link = link
    this.#request.abort()
    clearTimeout(this.#timer)
    this.#hold(false) // the button's text must fit the text in the box
    if (!link) return // the link may be under way: its row stays until the task is there
    this.#had = undefined
    this.#fetched = ""
    this.#show({}, () => this.#parts.i18n.t("preview.looking"))
    this.#timer = setTimeout(() => this.#ask(link), PAUSE_MS)
  }

  /** Draw the draft anew after a change of the language, of the options, or of finished tasks. */
  describe() {
    // Otherwise the facts belong to another link, or to none.
    if (this.#link === this.#parts.box.link) this.#show(this.#info, this.#facts)
  }

  /** @param {string} link */
  async #ask(link) {
    this.#request = new AbortController()
    const { signal } = this.#request
    const { api, i18n } = this.#parts
    this.#remember(link, [link])
    try {
      const how = { signal, patience: PATIENCE_MS }
      const info = await api.send("POST", "api/info", { url: link }, {}, how)
      if (link !== this.#link) return
      looks.set(link, info)
      this.#show(info, () => factsOf(info, i18n).join(" · "))
      if (info.webpage_url && info.webpage_url !== link) this.#remember(link, [link, info.webpage_url])
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof Problem)) throw error
      if (link !== this.#link) return
      // Status 0: the page says elsewhere that it is offline.
      const { error_code, error: said = error.status ? error.message : "" } = error.body
      const failure = /** @type {any} */ ({ error: said, error_code, message: said })
      const isOneOf = (/** @type {string[]} */ codes) => codes.includes(error_code ?? "")
      this.#show(
        { mayNameFeed: isOneOf(WITHOUT_FILM), isGone: isOneOf(GONE) },
        () => failureOf(failure, i18n),
      )
    }
  }

  /**
   * Find out whether there are finished files of this link, and show it.
   * @param {string} link in the box
   * @param {string[]} links that may lead to the same film
   */
  async #remember(link, links) {
    const { api, tasks } = this.#parts
    const query = { q: links.at(-1), status: "completed", limit: 20 }
    // after an error, the link is inspected without this
    const listed = await api.get("api/tasks", query).catch(() => ({ tasks: [] }))
    const known = tasks.find(links, ({ stage }) => stage === "completed")
    const had =
      [...listed.tasks, known].find((/** @type {Task | undefined} */ task) =>
        task && Object.keys(task.files).length > 0 &&
        [task.url, task.video_info.webpage_url ?? ""].some((each) => links.includes(each))
      ) ?? await this.#recall(link)
    if (link !== this.#link || this.#had) return
    this.#had = had
    if (had || this.#fetched) this.describe()
  }

  /** Save the finished files of the link. */
  save() {
    if (this.#had) saveLink(this.#had, kindsOf(this.#had)[0], this.#parts.i18n).click()
  }

  /** Forget the finished files, as they were deleted. */
  #gone() {
    this.#had = undefined
    this.describe()
  }

  /**
   * Ask the service for the video, which it knows also by other links, and longer than its task: return the
   * task, if there still is one.
   * @param {string} link
   * @returns {Promise<Task | undefined>}
   */
  async #recall(link) {
    const { api } = this.#parts
    // Null means that the video was never fetched.
    const known = await api.get("api/media", { url: link, quiet: 1 }).catch(() => null)
    if (!known || link !== this.#link) return
    const { task_id, fetched_at } = known
    const task = task_id ? await api.get(`api/status/${task_id}`).catch(() => null) : null
    if (task && Object.keys(task.files).length) return task
    if (link === this.#link) this.#fetched = fetched_at
  }

  /**
   * @param {Info} info
   * @param {() => string} facts
   */
  #show(info, facts) {
    const isOther = info !== this.#info
    this.#info = info
    this.#facts = facts
    if (!this.#link) return // the link was just sent: its facts stay in sight
    const { i18n, box } = this.#parts
    const image = /** @type {HTMLImageElement} */ (this.#part("thumbnail"))
    const task = /** @type {any} */ ({ url: this.#link, video_info: info })
    const picture = info.thumbnail?.startsWith("data:image/")
      ? info.thumbnail
      : webLink(this.#had?.thumbnail)?.href
    image.hidden = !picture
    if (picture) image.src = picture
    setText(this.#part("letter"), letterOf(task))
    setText(this.#part("title"), info.title ?? (this.#had ? titleOf(this.#had) : hostOf(task)))
    const said = this.#had ? hadFacts(this.#had, i18n) : this.#said(facts())
    setFacts(this.#part("facts"), said.split(" · "))
    const before = this.#buttons[0].textContent
    box.name(this.#words)
    for (const each of this.#buttons) each.toggleAttribute("data-quiet", this.verb === "try")
    if (before !== this.#buttons[0].textContent) {
      this.#hold(true)
      this.#unread = setTimeout(() => this.#hold(false), UNREAD_MS)
    }
    // Buttons that stay are not made anew: one may have the focus, or be about to be pressed.
    const there = [...this.#part("asks").children]
    const made = this.#others().map((other) => there.find((each) => each.isEqualNode(other)) ?? other)
    arrange(this.#part("asks"), /** @type {HTMLElement[]} */ ([this.#part("verb"), ...made]))
    if (isOther) this.dispatchEvent(new Event("info"))
  }

  get #isUnread() {
    return this.#buttons[0].ariaDisabled === "true"
  }

  /** @param {boolean} isUnread  nobody can have read yet what the button does */
  #hold(isUnread) {
    clearTimeout(this.#unread)
    for (const each of this.#buttons) each.ariaDisabled = String(isUnread)
  }

  /** @param {string} facts */
  #said(facts) {
    const { i18n } = this.#parts
    const day = this.#fetched && i18n.format.moment(new Date(this.#fetched))
    return [day && i18n.t("preview.fetched", { day }), facts].filter(Boolean).join(" · ")
  }

  /** Return the words of the most useful action; "": the box's own words. */
  get #words() {
    const { t } = { t: this.#parts.i18n.t.bind(this.#parts.i18n) }
    const { entries, total_entries, next_cursor } = this.#info
    const n = total_entries ?? (next_cursor ? 0 : entries?.length ?? 0)
    const words = {
      download: "",
      choose: n ? t("list.choose_of", { n }) : t("list.choose"),
      all: n ? t("list.all", { n }) : t("list.every"),
      record: t("action.remedy.record_live"),
      wait: t("list.wait"),
      play: t("action.play"),
      save: t("action.save"),
      follow: t("list.follow"),
      try: t("list.try"),
    }
    return words[this.verb]
  }

  /** Return the other actions for the link. */
  #others() {
    const { i18n, subscribe, sendAgain } = this.#parts
    /** @type {HTMLElement[]} */
    const made = []
    const other = (/** @type {string} */ words, /** @type {() => unknown} */ then) =>
      made.push(button(i18n.t(words), then, { className: "act" }))
    if (this.#info.entries?.length) other("list.follow", () => subscribe(this.#link))
    if (this.verb === "follow") other("submit.go", sendAgain)
    return made
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
 * @param {Task} task  whose files are here
 * @param {import("../base/i18n.js").I18n} i18n
 */
function hadFacts({ video_info: { height }, files, completed_at, created_at }, i18n) {
  const day = i18n.format.moment(new Date(completed_at ?? created_at))
  return [i18n.t("preview.have"), height && "video" in files ? `${height}p` : "", day].filter(Boolean).join(
    " · ",
  )
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
