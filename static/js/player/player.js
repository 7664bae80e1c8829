// @ts-check
// Reads subtitles, SubRip or WebVTT, into the cues of a track: browsers read only WebVTT by themselves.

import { openDialog } from "../base/dialogs.js"
import { byId, setText } from "../base/dom.js"
import { addSymbol, icon, make } from "../base/elements.js"
import { isClippable, kindName, playableKinds, playerFor } from "../row/files.js"
import { isFinal, titleOf, webLink } from "../tasks/task.js"
import { keepWatched, watchedOf } from "./watched.js"

/** @typedef {{start: number, end: number, text: string}} Cue  in seconds */

const TIMES = /^\s*((?:\d+:)?\d+:\d+[.,]\d+)\s*-->\s*((?:\d+:)?\d+:\d+[.,]\d+)/
/** Matches all tags, such as fonts, except those that a browser shows in a cue: b, i, u. */
const FOREIGN_MARKS = /<(?!\/?[biu]>)[^<>]*>|\{\\[^{}]*\}/g

/**
 * Return the cues in `text`; anything else is skipped.
 * @param {string} text
 * @returns {Cue[]}
 */
export function cuesIn(text) {
  return text.replace(/\r\n?/g, "\n").split(/\n{2,}/).flatMap((block) => {
    const lines = block.split("\n")
    const at = lines.findIndex((line) => TIMES.test(line))
    const [, start, end] = TIMES.exec(lines[at] ?? "") ?? []
    const words = lines.slice(at + 1).join("\n").replace(FOREIGN_MARKS, "").trim()
    const cue = { start: seconds(start ?? ""), end: seconds(end ?? ""), text: words }
    return start && words && cue.end > cue.start ? [cue] : []
  })
}

/** @param {string} time  01:02:03,456 or 02:03.456 */
const seconds = (time) => time.replace(",", ".").split(":").reduce((sum, part) => 60 * sum + Number(part), 0)

// What the player shows beside a film or a sound: subtitles, a cover, the kinds to choose from.

/** @typedef {import("../tasks/task.js").Task} Task */

const SUBTITLE = "subtitle."

/**
 * @param {Task} task
 * @returns {HTMLElement[]}  none if there is no picture
 */
export function coverOf({ thumbnail, files }) {
  const link = webLink(thumbnail) ?? webLink(files.thumbnail)
  if (!link) return []
  if (!thumbnail) link.searchParams.set("inline", "1")
  return [Object.assign(new Image(), { src: link.href, alt: "", className: "cover" })]
}

/**
 * Make the choice of the file to play, if there is more than one kind.
 * @param {string} kind
 * @param {boolean} checked
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function choiceOf(kind, checked, i18n) {
  const choice = make("input", { type: "radio", name: "kind", value: kind, checked })
  return make("label", {}, choice, make("span", {}, kindName(kind, i18n)))
}

/**
 * Add the subtitles. Those in the reader's language are shown, or the first ones; the browser's controls
 * offer the others.
 * @param {Task} task
 * @param {HTMLMediaElement} media
 * @param {import("../base/api.js").Api} api
 * @param {import("../base/i18n.js").I18n} i18n
 */
export async function subtitle({ files }, media, api, i18n) {
  const kinds = Object.keys(files).filter((kind) => kind.startsWith(SUBTITLE))
  const shown = kinds.find((kind) => kind.startsWith(SUBTITLE + i18n.language)) ?? kinds[0]
  for (const kind of kinds) {
    const link = webLink(files[kind])
    // Without its subtitles, the film can be watched as well.
    const cues = cuesIn(link ? await api.text(link.href).catch(() => "") : "")
    if (!cues.length) continue
    const track = media.addTextTrack("subtitles", kindName(kind, i18n), kind.slice(SUBTITLE.length))
    for (const { start, end, text } of cues) track.addCue(new VTTCue(start, end, text))
    track.mode = kind === shown ? "showing" : "disabled"
  }
}

// A part of a film that the reader marks while it plays, and sends from the box like any other link.

/** The number of seconds by which each key moves a mark. @type {Record<string, number>} */
const STEPS = { ArrowUp: 0.1, ArrowDown: -0.1, PageUp: 1, PageDown: -1 }
const TIME = /^(\d+:){0,2}\d+(\.\d+)?$/

/** @typedef {"start" | "end"} Mark */

export class Clipper {
  #root
  #i18n
  /** @type {HTMLMediaElement | null} */
  #media = null

  /**
   * @param {HTMLDetailsElement} root
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {(start: string, end: string) => void} take  gets both marks; an empty end is the end of the film
   */
  constructor(root, i18n, take) {
    this.#root = root
    this.#i18n = i18n
    for (const mark of /** @type {Mark[]} */ (["start", "end"])) {
      const field = this.#field(mark)
      this.#part(`${mark}-here`).addEventListener(
        "click",
        () => this.#put(mark, this.#media?.currentTime ?? 0),
      )
      field.addEventListener("change", () => this.#put(mark, secondsOf(field.value)))
      field.addEventListener("keydown", (event) => this.#pressed(event, mark))
    }
    this.#part("take").addEventListener("click", () => {
      if (this.#isPossible) take(this.#field("start").value, this.#field("end").value)
      else this.#field("end").focus()
    })
  }

  /** @param {HTMLMediaElement} media  in which marks are set from now on; those that are set stay */
  follow(media) {
    this.#media = media
    const known = () => this.#field("end").value || this.#put("end", media.duration)
    media.addEventListener("loadedmetadata", known, { once: true })
  }

  /**
   * @param {import("../tasks/task.js").Task} task
   * @param {boolean} isOpen  whether the reader asked to mark a clip
   */
  begin(task, isOpen) {
    this.#root.hidden = !isClippable(task)
    this.#root.open = isOpen
    this.#put("start", 0)
    this.#put("end", NaN)
  }

  /** @param {KeyboardEvent} event @param {Mark} mark */
  #pressed(event, mark) {
    const step = STEPS[event.key]
    if (!step) return
    event.preventDefault()
    const at = Math.max(0, (secondsOf(this.#field(mark).value) || 0) + step)
    this.#put(mark, at)
    if (this.#media) this.#media.currentTime = at // shows the frame at the mark
  }

  /** @param {Mark} mark @param {number} seconds  not finite: not known */
  #put(mark, seconds) {
    const field = this.#field(mark)
    field.value = timeOf(seconds)
    if (field.value) field.ariaValueNow = seconds.toFixed(1)
    else field.removeAttribute("aria-valuenow")
    field.ariaValueText = field.value
    this.#tell()
  }

  #tell() {
    const [start, end] = [this.#seconds("start"), this.#seconds("end")]
    const length = isNaN(end) ? "" : this.#i18n.t("clip.length", { length: timeOf(end - start) })
    this.#field("end").ariaInvalid = String(!this.#isPossible)
    setText(this.#part("length"), this.#isPossible ? length : this.#i18n.t("clip.backwards"))
  }

  get #isPossible() {
    return !(this.#seconds("end") <= this.#seconds("start"))
  }

  /** @param {Mark} mark */
  #seconds(mark) {
    return secondsOf(this.#field(mark).value)
  }

  /** @param {Mark} mark */
  #field(mark) {
    return /** @type {HTMLInputElement} */ (this.#part(mark))
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#root.querySelector(`[data-part=${name}]`))
  }
}

/**
 * Write a time as 3:07.5, or as 1:02:03.0 from an hour on; "" if it is not finite.
 * @param {number} seconds
 */
export function timeOf(seconds) {
  if (!Number.isFinite(seconds)) return ""
  const tenths = Math.round(seconds * 10)
  const [h, m, s] = [Math.floor(tenths / 36_000), Math.floor(tenths / 600) % 60, (tenths % 600) / 10]
  const minutes = h ? `${h}:${String(m).padStart(2, "0")}` : m
  return `${minutes}:${s.toFixed(1).padStart(4, "0")}`
}

/**
 * Read a time; NaN if the text is not a time.
 * @param {string} text
 */
export function secondsOf(text) {
  const time = text.trim()
  return TIME.test(time) ? time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0) : NaN
}

/**
 * Play the film whose task the address names: programs such as the browser extension open the page for this.
 * The name is removed, so that a reload does not play the film again.
 * @param {import("../base/api.js").Api} api
 * @param {(task: import("../tasks/task.js").Task) => unknown} play
 */
export async function playNamed(api, play) {
  const url = new URL(location.href)
  const id = url.searchParams.get("play") ?? ""
  url.searchParams.delete("play")
  history.replaceState(null, "", url)
  // The task may be deleted.
  const task = await api.get(`api/status/${encodeURIComponent(id)}`).catch(() => null)
  if (task) await play(task)
}

// The player: a film with its subtitles or the sound with its cover, over the page or small in its corner.

export class Player {
  #dialog
  #i18n
  #api
  #announcer
  #send
  /** @type {HTMLMediaElement | null} */
  #media = null
  /** @type {Task | null} */
  #task = null
  /** The kind of the file that is played; "" for the part of a film that has come so far. */
  #kind = ""
  #clipper

  /** @param {{i18n: import("../base/i18n.js").I18n, api: import("../base/api.js").Api, announcer: import("../notices/news.js").Announcer, intake: import("../intake/intake.js").Intake, send: (task: Task, kind: string) => unknown}} parts */
  constructor(parts) {
    this.#i18n = parts.i18n
    this.#dialog = newDialog(parts.i18n)
    this.#api = parts.api
    this.#announcer = parts.announcer
    this.#send = this.#part("send")
    this.#send.addEventListener("click", () => this.#task && parts.send(this.#task, this.#kind))
    this.#dialog.addEventListener("close", () => {
      if (this.#dialog.open) return
      this.#empty()
      const isLost = document.activeElement === document.body // the row that opened the player has gone
      if (isLost) byId("tasks", HTMLElement).focus({ preventScroll: true })
    })
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return
      event.preventDefault() // the browser would close the next dialog, too
      this.#dialog.close()
    })
    this.#part("corner").addEventListener("click", () => this.#move(!this.#isSmall))
    const clip = /** @type {HTMLDetailsElement} */ (this.#part("clip"))
    this.#clipper = new Clipper(clip, parts.i18n, (start, end) => {
      const link = this.#task?.url ?? ""
      this.#dialog.close()
      parts.intake.takeClip(link, start, end)
    })
    this.#part("kinds").addEventListener(
      "change",
      ({ target }) => target instanceof HTMLInputElement && this.#play(target.value),
    )
  }

  /**
   * @param {Task} task
   * @param {boolean} [isForClip]  the reader wants to mark a part of it
   * @param {string} [chosen]  which of its files; "" the best
   */
  async open(task, isForClip = false, chosen = "") {
    const kinds = playableKinds(task)
    const first = kinds.includes(chosen) ? chosen : kinds[0]
    if (!kinds.length && !(await this.#comes(task))) {
      return this.#announcer.say(this.#i18n.t("player.not_now"))
    }
    this.#empty()
    this.#task = task
    setText(this.#part("title"), titleOf(task))
    this.#part("kinds").replaceChildren(
      ...(kinds.length > 1 ? kinds.map((kind) => choiceOf(kind, kind === first, this.#i18n)) : []),
    )
    this.#clipper.begin(task, isForClip)
    this.#play(first ?? "")
    if (!this.#dialog.open) openDialog(this.#dialog)
    this.#media?.focus()
  }

  get #isSmall() {
    return this.#dialog.hasAttribute("data-small")
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#dialog.querySelector(`[data-part=${name}]`))
  }

  /**
   * Return whether the film of the task can be watched while it downloads.
   * @param {Task} task
   */
  async #comes(task) {
    if (isFinal(task)) return false
    const answer = await fetch(this.#streamOf(task), { method: "HEAD" }).catch(() => null)
    return answer?.ok ?? false
  }

  /** @param {Task} task */
  #streamOf(task) {
    return this.#api.url(`api/tasks/${task.task_id}/stream`)
  }

  /** @param {string} kind  "": the part of a film that has been downloaded so far */
  #play(kind) {
    const task = this.#task
    const media = task && (playerFor(kind || "video", task.file_info?.[kind]?.type))
    const link = task && (kind ? webLink(task.files[kind]) : this.#streamOf(task))
    if (!media || !link) return
    const { at: left, isSeen } = watchedOf(task.task_id)
    const at = this.#media?.currentTime ?? (isSeen || !kind ? 0 : left)
    this.#keepPlace()
    this.#media = media
    this.#kind = kind
    this.#send.hidden = !kind
    this.#clipper.follow(media)
    link.searchParams.set("inline", "1")
    Object.assign(media, { controls: true, autoplay: true, src: link.href })
    if (at) media.addEventListener("loadedmetadata", () => (media.currentTime = at), { once: true })
    this.#part("stage").replaceChildren(
      ...(media instanceof HTMLVideoElement ? [] : coverOf(task)),
      media,
    )
    media.addEventListener("pause", () => this.#keepPlace())
    if (media instanceof HTMLVideoElement) subtitle(task, media, this.#api, this.#i18n)
  }

  /** Remember how far the film was watched, unless it is still downloading. */
  #keepPlace() {
    if (!this.#task || !this.#media || !this.#kind) return
    keepWatched(this.#task.task_id, { at: this.#media.currentTime, of: this.#media.duration })
  }

  /** @param {boolean} isSmall  in the corner, with the page to be used beside it */
  #move(isSmall) {
    const corner = this.#part("corner")
    this.#dialog.close()
    this.#dialog.toggleAttribute("data-small", isSmall)
    if (isSmall) this.#dialog.show()
    else openDialog(this.#dialog)
    corner.setAttribute("aria-pressed", String(isSmall))
    corner.focus()
  }

  #empty() {
    this.#keepPlace()
    this.#media?.pause()
    this.#media = this.#task = null
    this.#dialog.removeAttribute("data-small")
    this.#part("corner").setAttribute("aria-pressed", "false")
    for (const name of ["title", "kinds", "stage"]) this.#part(name).replaceChildren()
  }
}

/** @param {import("../base/i18n.js").I18n} i18n */
function newDialog(i18n) {
  const part = (/** @type {string} */ name, /** @type {string} */ key) =>
    make("button", { type: "button", "data-part": name, "data-t": key })
  const mark = (/** @type {Mark} */ name) =>
    make("input", {
      role: "spinbutton",
      inputMode: "decimal",
      autocomplete: "off",
      "data-part": name,
      "data-t-label": `options.clip_${name}`,
    })
  const iconOnly = { className: "icon-only" }
  const take = part("take", "clip.take")
  take.className = "primary"
  addSymbol("corner", "M4 5h16v14H4zM12 12h8v7h-8z")
  const dialog = make(
    "dialog",
    { id: "player", className: "sheet wide", "aria-labelledby": "player-title" },
    make(
      "header",
      { role: "none" },
      make("h2", { id: "player-title", dir: "auto", "data-part": "title" }),
      make(
        "button",
        {
          type: "button",
          ...iconOnly,
          "data-part": "corner",
          "aria-pressed": "false",
          "data-t-label": "player.small",
        },
        icon("corner"),
      ),
      make(
        "form",
        { method: "dialog" },
        make("button", { ...iconOnly, "data-t-label": "dialog.close" }, icon("cancel")),
      ),
    ),
    make("div", { className: "stage", "data-part": "stage" }),
    make(
      "details",
      { className: "clipper", hidden: true, "data-part": "clip" },
      make("summary", {}, icon("chevron"), " ", make("span", { "data-t": "clip.title" })),
      make(
        "div",
        { className: "marks" },
        part("start-here", "clip.start_here"),
        mark("start"),
        part("end-here", "clip.end_here"),
        mark("end"),
        make("output", { "data-part": "length" }),
        take,
      ),
    ),
    make(
      "div",
      { className: "player-acts" },
      make("div", {
        className: "chips",
        role: "radiogroup",
        "data-part": "kinds",
        "data-t-label": "player.kinds",
      }),
      make(
        "button",
        { type: "button", "data-part": "send", "aria-haspopup": "dialog" },
        icon("send"),
        make("span", { "data-t": "action.send" }),
      ),
    ),
  )
  i18n.translate(dialog)
  document.body.append(dialog)
  return dialog
}
