// @ts-check
// The part of a film that is wanted, marked while it plays. The reader sends it from the box, as any other link.

import { setText } from "./dom.js"
import { isClippable } from "./files.js"

/** Seconds that a key moves a mark. @type {Record<string, number>} */
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
   * @param {import("./i18n.js").I18n} i18n
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
   * @param {import("./task.js").Task} task
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
    if (this.#media) this.#media.currentTime = at // shows the picture at the mark
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
 * 3:07.5, or 1:02:03.0 from an hour on; "" if not finite.
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
 * NaN if the text is not a time.
 * @param {string} text
 */
export function secondsOf(text) {
  const time = text.trim()
  return TIME.test(time) ? time.split(":").reduce((sum, part) => sum * 60 + Number(part), 0) : NaN
}
