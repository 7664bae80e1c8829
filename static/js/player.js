// @ts-check
// Subtitles, SubRip or WebVTT, as the lines of a track: browsers read only one of them by themselves.

import { Clipper } from "./clipper.js"
import { byId, setText } from "./dom.js"
import { kindName, playableKinds, playerFor, saveLink } from "./files.js"
import { isFinal, titleOf, webLink } from "./task.js"

/** @typedef {{start: number, end: number, text: string}} Cue  in seconds */

const TIMES = /^\s*((?:\d+:)?\d+:\d+[.,]\d+)\s*-->\s*((?:\d+:)?\d+:\d+[.,]\d+)/
/** All marks (fonts, places) but those that a browser shows in a cue: b, i, u. */
const FOREIGN_MARKS = /<(?!\/?[biu]>)[^<>]*>|\{\\[^{}]*\}/g

/**
 * The cues in `text`; what is no cue is skipped.
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

/** @typedef {import("./task.js").Task} Task */

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
 * What to play, if there is more than one kind.
 * @param {string} kind
 * @param {boolean} checked
 * @param {import("./i18n.js").I18n} i18n
 */
export function choiceOf(kind, checked, i18n) {
  const [label, words] = [document.createElement("label"), document.createElement("span")]
  words.textContent = kindName(kind, i18n)
  const choice = document.createElement("input")
  label.append(Object.assign(choice, { type: "radio", name: "kind", value: kind, checked }), words)
  return label
}

/**
 * Add the subtitles. Those in the reader's language are shown, else the first; the browser's controls offer the others.
 * @param {Task} task
 * @param {HTMLMediaElement} media
 * @param {import("./api.js").Api} api
 * @param {import("./i18n.js").I18n} i18n
 */
export async function subtitle({ files }, media, api, i18n) {
  const kinds = Object.keys(files).filter((kind) => kind.startsWith(SUBTITLE))
  const shown = kinds.find((kind) => kind.startsWith(SUBTITLE + i18n.language)) ?? kinds[0]
  for (const kind of kinds) {
    const link = webLink(files[kind])
    const cues = cuesIn(link ? await api.text(link.href).catch(() => "") : "") // a film is watched without them, too
    if (!cues.length) continue
    const track = media.addTextTrack("subtitles", kindName(kind, i18n), kind.slice(SUBTITLE.length))
    for (const { start, end, text } of cues) track.addCue(new VTTCue(start, end, text))
    track.mode = kind === shown ? "showing" : "disabled"
  }
}

// The link of a file, handed on: copied, given to another app, or as a QR code shown to the camera of a phone.

/** An address that no other device can reach. */
const LOOPBACK = /^(.*\.)?localhost$|^127\.[\d.]+$|^\[::1\]$/

export class Sharing {
  #dialog = byId("code", HTMLDialogElement)
  #player
  #i18n
  #api
  #announcer
  /** @type {Task | null} */
  #task = null
  #kind = ""

  /**
   * @param {HTMLElement} player  with the buttons
   * @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./news.js").Announcer}} parts
   */
  constructor(player, { i18n, api, announcer }) {
    this.#player = player
    this.#i18n = i18n
    this.#api = api
    this.#announcer = announcer
    this.#button("copy").addEventListener("click", () => this.#copy())
    this.#button("share").addEventListener("click", () => this.#share())
    this.#button("code").addEventListener("click", () => this.#show())
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#picture("", "")) // no link is left to the next user
  }

  /**
   * Show the buttons for what is possible here with this file of the task.
   * @param {Task} task
   * @param {string} kind  "": there is none yet
   */
  offer(task, kind) {
    this.#task = task
    this.#kind = kind
    this.#button("copy").hidden = !kind || !navigator.clipboard
    this.#button("share").hidden = !kind || !navigator.share || !matchMedia("(pointer: coarse)").matches
    this.#button("code").hidden = !kind || LOOPBACK.test(location.hostname)
  }

  clear() {
    this.#task = null
    this.#dialog.close()
    this.#say("")
  }

  get #link() {
    return webLink(this.#task?.files[this.#kind])?.href ?? ""
  }

  async #copy() {
    await navigator.clipboard.writeText(this.#link)
    this.#announcer.say(this.#i18n.t("announce.copied"))
    this.#say(this.#i18n.t("announce.copied"))
  }

  #share() {
    const title = this.#task ? titleOf(this.#task) : ""
    navigator.share({ title, url: this.#link }).catch(() => {}) // the reader has cancelled
  }

  #show() {
    const path = `api/tasks/${this.#task?.task_id}/files/${this.#kind}/qr.svg`
    this.#picture(this.#api.url(path).href, this.#link)
    this.#dialog.showModal()
  }

  /**
   * @param {string} source
   * @param {string} link
   */
  #picture(source, link) {
    const place = /** @type {HTMLElement} */ (this.#dialog.querySelector("[data-part=picture]"))
    const picture = Object.assign(new Image(), { src: source, alt: this.#i18n.t("player.code") })
    place.replaceChildren(...(source ? [picture] : []))
    setText(/** @type {HTMLElement} */ (this.#dialog.querySelector("[data-part=link]")), link)
  }

  /** @param {string} text */
  #say(text) {
    setText(/** @type {HTMLElement} */ (this.#player.querySelector("[data-part=copied]")), text)
  }

  /** @param {string} name */
  #button(name) {
    return /** @type {HTMLElement} */ (this.#player.querySelector(`[data-part=${name}]`))
  }
}

// The player: a film with its subtitles or the sound with its cover, over the page or small in its corner.

export class Player {
  #dialog = byId("player", HTMLDialogElement)
  #i18n
  #api
  #announcer
  #sharing
  /** @type {HTMLMediaElement | null} */
  #media = null
  /** @type {Task | null} */
  #task = null
  #clipper

  /** @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./news.js").Announcer, intake: import("./intake.js").Intake}} parts */
  constructor(parts) {
    this.#i18n = parts.i18n
    this.#api = parts.api
    this.#announcer = parts.announcer
    this.#sharing = new Sharing(this.#dialog, parts)
    this.#dialog.addEventListener("close", () => {
      if (this.#dialog.open) return
      this.#empty()
      const isLost = document.activeElement === document.body // the row that it was opened from has gone
      if (isLost) byId("tasks", HTMLElement).focus({ preventScroll: true })
    })
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("keydown", ({ key }) => key === "Escape" && this.#dialog.close())
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
    if (!this.#dialog.open) this.#dialog.showModal()
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
   * Whether the task can be watched while it downloads.
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
    const at = this.#media?.currentTime ?? 0
    this.#media = media
    this.#sharing.offer(task, kind)
    this.#clipper.follow(media)
    link.searchParams.set("inline", "1")
    Object.assign(media, { controls: true, autoplay: true, src: link.href })
    if (at) media.addEventListener("loadedmetadata", () => (media.currentTime = at), { once: true })
    this.#part("stage").replaceChildren(
      ...(media instanceof HTMLVideoElement ? [] : coverOf(task)),
      media,
    )
    this.#part("save").replaceChildren(...(kind ? [saveLink(task, kind, this.#i18n)] : []))
    if (media instanceof HTMLVideoElement) subtitle(task, media, this.#api, this.#i18n)
  }

  /** @param {boolean} isSmall  in the corner, with the page to be used beside it */
  #move(isSmall) {
    const corner = this.#part("corner")
    this.#dialog.close()
    this.#dialog.toggleAttribute("data-small", isSmall)
    if (isSmall) this.#dialog.show()
    else this.#dialog.showModal()
    corner.setAttribute("aria-pressed", String(isSmall))
    corner.focus()
  }

  #empty() {
    this.#media?.pause()
    this.#media = this.#task = null
    this.#sharing.clear()
    this.#dialog.removeAttribute("data-small")
    this.#part("corner").setAttribute("aria-pressed", "false")
    for (const name of ["title", "kinds", "stage", "save"]) this.#part(name).replaceChildren()
  }
}
