// @ts-check
// The form of the options: what is chosen there, what this browser remembers of it, and what the service offers in it.

import { setText } from "./dom.js"
import { fieldsOf, fill } from "./fields.js"
import { recall, remember } from "./preferences.js"
import { besidePreset, DEFAULTS, sentenceOf, wishesOf } from "./wishes.js"

const NAME = "options"
const SELECTS = ["quality", "video_format", "codec", "audio_format", "audio_quality", "sponsorblock"]
const TEXTS = ["audio_language", "languages"]
const TICKS = ["automatic", "embed", "embed_metadata", "split_chapters"]
/** Fields that this browser remembers; the others apply to one request. */
const LASTING = [...SELECTS, ...TEXTS, ...TICKS]
const ONCE = [
  "format",
  "clip_start",
  "clip_end",
  "exact",
  "live",
  "playlist",
  "paused",
  "start_at",
  "cookies",
]

/** Fires "open" when the reader unfolds the options. */
export class Options extends EventTarget {
  #form
  #details
  #i18n
  /** @type {Record<string, Record<string, any>>} */
  #presets = {}

  /**
   * @param {HTMLFormElement} form
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(form, i18n) {
    super()
    this.#form = form
    this.#i18n = i18n
    this.#details = /** @type {HTMLDetailsElement} */ (form.querySelector("details.choices"))
    fill(form, LASTING, recall(NAME, {}))
    this.#details.addEventListener(
      "toggle",
      () => this.#details.open && this.dispatchEvent(new Event("open")),
    )
    form.addEventListener("change", ({ target }) => this.#changed(/** @type {Element} */ (target)))
    this.describe()
  }

  /** As fields of `POST /api/process`. */
  get request() {
    const wishes = wishesOf(this.#fields)
    const preset = String(this.#fields.preset ?? "")
    return preset in this.#presets ? besidePreset(wishes, preset, this.#presets[preset]) : wishes
  }

  /** Whether a link to a list gives all its entries. */
  get isOfLists() {
    /** @type {Record<string, any>} */
    const { playlist, preset = "" } = this.request
    return Boolean(playlist ?? this.#presets[preset]?.playlist)
  }

  get isWithoutOutputs() {
    return !wishesOf(this.#fields).outputs.length
  }

  /** Say on the folded line what is chosen. */
  describe() {
    const words = sentenceOf(wishesOf(this.#fields), this.#i18n)
    setText(/** @type {HTMLElement} */ (this.#form.querySelector("[data-part=chosen]")), words)
  }

  /** Unfold, and go to the choice without which nothing can be made. */
  askForOutputs() {
    this.#details.open = true
    this.#field("outputs").focus()
  }

  /** @param {Record<string, string>} values  by the names of fields, for the reader to see */
  put(values) {
    fill(this.#form, Object.keys(values), values)
    this.#details.open = true
    this.describe()
  }

  /** Reset the fields that apply to one request, which is being sent; return what was chosen in them. */
  forget() {
    const chosen = this.#fields
    for (const name of ONCE) {
      const field = this.#field(name)
      if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = false
      else field.value = ""
    }
    this.describe()
    return Object.fromEntries(ONCE.map((name) => [name, chosen[name] ?? ""]))
  }

  /**
   * Put back what `forget` has returned, unless the reader has chosen something for other links meanwhile.
   * @param {import("./wishes.js").Fields} chosen
   */
  restore(chosen) {
    const fields = this.#fields
    if (ONCE.some((name) => fields[name])) return
    fill(this.#form, ONCE, chosen)
    this.describe()
  }

  /** @param {Record<string, Record<string, any>>} presets */
  offerPresets(presets) {
    this.#presets = presets
    this.#offer("preset", this.#i18n.t("options.no_preset"), Object.keys(presets).map((name) => [name, name]))
  }

  /** @param {string[]} names */
  offerCookies(names) {
    this.#offer("cookies", this.#i18n.t("options.no_cookies"), names.map((name) => [name, name]))
  }

  /** @param {[value: string, label: string][]} formats  of the link that was looked at */
  offerFormats(formats) {
    this.#offer("format", this.#i18n.t("options.by_quality"), formats)
    this.describe()
  }

  /**
   * @param {string} name
   * @param {string} none
   * @param {[value: string, label: string][]} choices
   */
  #offer(name, none, choices) {
    const select = /** @type {HTMLSelectElement} */ (this.#field(name))
    const { value } = select
    select.replaceChildren(...[["", none], ...choices].map(([value, label]) => new Option(label, value)))
    select.value = choices.some(([other]) => other === value) ? value : ""
    const field = /** @type {HTMLElement} */ (select.closest(".field"))
    if (field.dataset.part) field.hidden = !choices.length
  }

  /** @param {Element} target */
  #changed(target) {
    const preset = this.#presets[this.#field("preset").value]
    const isPreset = target === this.#field("preset")
    if (isPreset) fill(this.#form, LASTING, preset ? { ...DEFAULTS, ...preset } : recall(NAME, DEFAULTS))
    this.describe()
    if (preset || isPreset) return
    const fields = this.#fields
    remember(NAME, Object.fromEntries(["outputs", ...LASTING].map((name) => [name, fields[name] ?? ""])))
  }

  get #fields() {
    return fieldsOf(this.#form)
  }

  /**
   * @param {string} name
   * @returns {HTMLInputElement | HTMLSelectElement}
   */
  #field(name) {
    return /** @type {any} */ (this.#form.querySelector(`[name=${name}]`))
  }
}
