// @ts-check
// What to make of the links. The choices stand in index.html; this browser remembers the last ones.

import { setText } from "./dom.js"
import { recall, remember } from "./preferences.js"

const NAME = "options"
const CHOICES = ["quality", "video_format", "codec", "audio_format"]

export class Options {
  #form
  #details
  #i18n

  /**
   * @param {HTMLFormElement} form
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(form, i18n) {
    this.#form = form
    this.#i18n = i18n
    this.#details = /** @type {HTMLDetailsElement} */ (form.querySelector("details"))
    this.#restore(recall(NAME, {}))
    form.addEventListener("change", () => this.#changed())
    this.describe()
  }

  /** As fields of `POST /api/process`. */
  get request() {
    const data = new FormData(this.#form)
    const chosen = CHOICES.map((name) => [name, String(data.get(name))])
    const request = { outputs: data.getAll("outputs").map(String), ...Object.fromEntries(chosen) }
    const recorded = data.has("live") ? { ...request, live: "record" } : request
    return data.has("paused") ? { ...recorded, auto_start: false } : recorded
  }

  /** The folded row says what is chosen in it. */
  describe() {
    const { outputs, quality, video_format, codec, audio_format } = this.request
    const texts = outputs.map((/** @type {string} */ output) => this.#i18n.t(`kind.${output}`))
    const named = [this.#label("quality", quality), video_format, codec === "auto" ? "" : codec, audio_format]
    const summary = [texts.join(" + "), ...named].filter(Boolean).join(" · ")
    setText(/** @type {HTMLElement} */ (this.#form.querySelector("[data-part=chosen]")), summary)
  }

  /** Unfold, and go to the choice without which nothing can be made. */
  askForOutputs() {
    this.#details.open = true
    this.#field("outputs")?.focus()
  }

  #changed() {
    this.describe()
    const { auto_start, live, ...lasting } = this.request // these are meant for once
    remember(NAME, lasting)
  }

  /** @param {Record<string, unknown>} stored */
  #restore(stored) {
    for (const name of CHOICES) {
      const select = /** @type {HTMLSelectElement} */ (this.#field(name))
      const known = [...select.options].map((option) => option.value)
      if (known.includes(String(stored[name]))) select.value = String(stored[name])
    }
    const { outputs } = stored
    if (!Array.isArray(outputs) || !outputs.length) return
    for (const box of this.#form.querySelectorAll("input[name=outputs]")) {
      const output = /** @type {HTMLInputElement} */ (box)
      output.checked = outputs.includes(output.value)
    }
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #label(name, value) {
    const select = /** @type {HTMLSelectElement} */ (this.#field(name))
    return [...select.options].find((option) => option.value === value)?.textContent ?? value
  }

  /**
   * @param {string} name
   * @returns {HTMLElement | null}
   */
  #field(name) {
    return this.#form.querySelector(`[name=${name}]`)
  }
}
