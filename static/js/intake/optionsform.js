// @ts-check
// The form of all options but the three that are always visible. It is made from their table when the reader
// first unfolds it: in groups, and without options that do not apply.

import { Problem } from "../base/api.js"
import { bindBasics } from "./basics.js"
import { byId, isOfIme, on, setText } from "../base/dom.js"
import { hasLibrary, LAYOUTS } from "../base/library.js"
import { DEFAULTS, doesApply, lastingOf, OPTIONS } from "./options.js"
import { recall, remember } from "../base/preferences.js"
import { owners } from "../tasks/task.js"

/** @typedef {Pick<import("./options.js").Options, "chosen" | "preset" | "presets" | "offers" | "known" | "canMarkClip" | "choose" | "choosePreset" | "offer" | "offerPresets" | "lasting" | "fill"> & EventTarget} Options */

export const GROUPS = ["good", "part", "extras", "when"]
/** Examples that fields show while they are empty. @type {Record<string, string>} */
const HINTS = { audio_language: "en", clip_start: "0:00", clip_end: "1:30" }
/** A tag such as "pt-BR". */
const LANGUAGE = "[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,3}"
/** The option values that are words and need a translation; all others are names. */
export const WORDS = [
  "best",
  "worst",
  "any",
  "auto",
  "",
  "sponsor",
  "most",
  "video",
  "audio",
  "thumbnail",
  "subtitles",
]

export class OptionsForm {
  #root
  #without
  #options
  #i18n
  /** @type {OwnPresets} */
  #own
  /**
   * The field of each option, and the element around it.
   * @type {Map<string, {field: HTMLElement, around: HTMLElement}>}
   */
  #fields = new Map()

  /**
   * @param {Options} options
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {HTMLElement} [root]
   * @param {string[]} [without]  options to leave out of the form
   */
  constructor(options, i18n, root, without = []) {
    this.#root = root ?? byId("options", HTMLElement)
    this.#without = without
    this.#options = options
    this.#i18n = i18n
    this.#own = this.#newOwn()
    // `input`, and not `change`: when the service answers, the form is redrawn, which would undo a text that
    // is being typed.
    this.#root.addEventListener("input", ({ target }) => this.#chosen(/** @type {any} */ (target)))
    on(options, "change", () => this.#show())
    this.make()
  }

  /** Make the form anew after a change of the language. */
  make() {
    this.#fields.clear()
    const preset = this.#labelled("preset", document.createElement("select"), "field")
    this.#own = this.#newOwn()
    const presets = Object.assign(document.createElement("div"), { className: "presets" })
    presets.append(preset, this.#own.element)
    this.#root.replaceChildren(presets, ...GROUPS.map((group) => this.#group(group)))
    this.#show()
  }

  #newOwn() {
    return new OwnPresets(this.#options, this.#i18n, () => this.#show())
  }

  /**
   * Ask the service for its presets and cookies.
   * @param {import("../base/api.js").Api} api
   */
  async ask(api) {
    const [presets, cookies] = await Promise.all(
      ["api/presets", "api/cookies"].map((path) =>
        api.get(path).catch((error) => {
          if (error instanceof Problem) return {} // a service may have no presets or cookies
          throw error
        })
      ),
    )
    this.#options.offerPresets(presets.presets ?? {})
    const whose = owners.chosen || owners.admin
    /** @type {{name: string, owner?: string}[]} */
    const stored = (cookies.cookies ?? []).filter(({ owner = "" }) => owner === whose)
    this.#options.offer("cookies", stored.map(({ name }) => [name, name]))
    const layouts = Object.entries(await hasLibrary(api) ? LAYOUTS : {})
    this.#options.offer("library", layouts.map(([layout, key]) => [layout, this.#i18n.t(key)]))
  }

  /** @param {string} group */
  #group(group) {
    const fieldset = document.createElement("fieldset")
    const legend = Object.assign(document.createElement("legend"), {
      textContent: this.#i18n.t(`group.${group}`),
    })
    const fields = document.createElement("div")
    fields.className = "fields"
    for (const [name, option] of Object.entries(OPTIONS)) {
      if (option.group !== group || this.#without.includes(name)) continue
      fields.append(this.#field(name, option))
      if (name === "clip_end") fields.append(this.#clipButton())
    }
    fieldset.append(legend, fields)
    return fieldset
  }

  /**
   * @param {string} name
   * @param {import("./options.js").Option} option
   */
  #field(name, { kind, values = [], offered = values }) {
    if (kind === "ticks") {
      const ticks = document.createElement("div")
      ticks.className = "ticks"
      ticks.append(...offered.map((value) => tickOf(name, value, this.#i18n.t(`options.${value}`))))
      this.#fields.set(name, { field: ticks, around: ticks })
      return ticks
    }
    if (kind === "tick") {
      const label = tickOf(name, "on", this.#i18n.t(`options.${name}`))
      this.#fields.set(name, {
        field: /** @type {HTMLElement} */ (label.querySelector("input")),
        around: label,
      })
      return label
    }
    if (kind === "choice") {
      const select = document.createElement("select")
      select.append(...values.map((value) => new Option(this.#labelOf(name, value), value)))
      return this.#labelled(name, select, "field")
    }
    const input = document.createElement("input")
    if (kind === "moment") input.type = "datetime-local"
    else Object.assign(input, { placeholder: HINTS[name], autocomplete: "off" })
    if (kind === "time") Object.assign(input, { inputMode: "decimal", pattern: "[0-9:.]*" })
    if (name === "audio_language") input.pattern = LANGUAGE
    return this.#labelled(name, input, "field")
  }

  /**
   * @param {string} name
   * @param {HTMLInputElement | HTMLSelectElement} field
   * @param {string} className
   */
  #labelled(name, field, className) {
    const label = Object.assign(document.createElement("label"), { className })
    const words = Object.assign(document.createElement("span"), {
      textContent: this.#i18n.t(`options.${name}`),
    })
    field.name = name
    label.append(words, field)
    this.#fields.set(name, { field, around: label })
    return label
  }

  #clipButton() {
    const button = document.createElement("button")
    Object.assign(button, {
      id: "clip-player",
      type: "button",
      textContent: this.#i18n.t("clip.with_player"),
    })
    button.addEventListener("click", () => this.#options.dispatchEvent(new Event("clip")))
    this.#fields.set("clip-player", { field: button, around: button })
    return button
  }

  /**
   * @param {string} name
   * @param {string} value
   */
  #labelOf(name, value) {
    if (WORDS.includes(value)) return this.#i18n.t(`${name}.${value || "none"}`)
    if (name === "quality") return `${value}p`
    if (name === "audio_quality") return `${value} kbit/s`
    return { webm: "WebM", h264: "H.264", h265: "H.265", opus: "Opus" }[value] ?? value.toUpperCase()
  }

  /** Show the chosen values, and hide options that do not apply. */
  #show() {
    const { chosen, preset, presets, offers, known } = this.#options
    const own = this.#own.names.map((name) => /** @type {[string, string]} */ ([OWN + name, name]))
    const ofService = Object.keys(presets).map((name) => /** @type {[string, string]} */ ([name, name]))
    this.#offer("preset", [...ofService, ...own], this.#own.chosen ? OWN + this.#own.chosen : preset)
    this.#own.show()
    for (const [name, choices] of Object.entries(offers)) {
      if (this.#fields.has(name)) this.#offer(name, choices, chosen[name])
    }
    for (const [name, { kind, group }] of Object.entries(OPTIONS)) {
      if (group === "always" || this.#without.includes(name)) continue
      const { field, around } = this.#part(name)
      const isOffered = !(name in offers) || offers[name].length > 0
      around.hidden = !doesApply(name, chosen, known) || !isOffered
      /** @type {any} */
      const input = field
      if (kind === "tick") input.checked = Boolean(chosen[name])
      else if (kind === "ticks") {
        for (const tick of field.querySelectorAll("input")) tick.checked = chosen[name].includes(tick.value)
      } else if (input.value !== chosen[name]) input.value = chosen[name] // a half-typed date has no value, and stays
    }
    this.#part("preset").around.hidden = !ofService.length && !own.length
    const clip = this.#fields.get("clip-player")
    if (clip) clip.around.hidden = !this.#options.canMarkClip
  }

  /**
   * @param {string} name
   * @param {[value: string, label: string][]} choices
   * @param {string} value
   */
  #offer(name, choices, value) {
    const select = /** @type {HTMLSelectElement} */ (this.#part(name).field)
    const none = this.#i18n.t(`${name}.none`)
    const labels = ["", ...choices.map(([value]) => value)].join("\n")
    if ([...select.options].map((option) => option.value).join("\n") !== labels || !select.options.length) {
      select.replaceChildren(...[["", none], ...choices].map(([value, label]) => new Option(label, value)))
    }
    select.value = value
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {{field: HTMLElement, around: HTMLElement}} */ (this.#fields.get(name))
  }

  /** @param {HTMLInputElement | HTMLSelectElement} field */
  #chosen(field) {
    const { name } = field
    if (name === "preset" && field.value.startsWith(OWN)) {
      return this.#own.choose(field.value.slice(OWN.length))
    }
    if (name === "preset") return this.#options.choosePreset(field.value)
    if (!(name in OPTIONS)) return
    const { kind, values = [] } = OPTIONS[name]
    const { chosen } = this.#options
    const { checked = false } = /** @type {HTMLInputElement} */ (field)
    const ticked = values.filter((value) => (value === field.value ? checked : chosen[name].includes(value)))
    const ticks = ticked.length ? ticked : DEFAULTS[name]
    this.#options.choose(name, kind === "ticks" ? ticks : kind === "tick" ? checked : field.value)
    this.#show()
  }
}

/**
 * Make a separate form with all options, also the three that are always visible at the box.
 * @param {Options} options
 * @param {import("../base/i18n.js").I18n} i18n
 * @param {string[]} without options to leave out
 */
export function wholeForm(options, i18n, without) {
  const three = /** @type {HTMLElement} */ (document.querySelector("#choices .three")?.cloneNode(true))
  const others = Object.assign(document.createElement("div"), { className: "options" })
  bindBasics(three, options)
  return { form: new OptionsForm(options, i18n, others, without), elements: [three, others] }
}

/**
 * @param {string} name
 * @param {string} value
 * @param {string} text
 */
function tickOf(name, value, text) {
  const label = Object.assign(document.createElement("label"), { className: "tick" })
  const input = Object.assign(document.createElement("input"), { type: "checkbox", name, value })
  const words = document.createElement("span")
  setText(words, text)
  label.append(input, " ", words)
  return label
}

// Choices that the reader has saved under a name in this browser; they fill in the options, while the
// service's presets are applied by the service.

const STORED = "presets"
const MOST = 30
const LONGEST_NAME = 40
const USUAL = JSON.stringify(lastingOf(DEFAULTS))
/** The prefix of the reader's own presets in the menu: the service may have presets of the same names. */
const OWN = "own:"

/** The row below the menu of presets, which saves the chosen options as a preset and deletes saved ones. */
class OwnPresets {
  element = document.createElement("div")
  #options
  #i18n
  #save
  #name
  #refused = Object.assign(document.createElement("p"), { className: "problem", role: "alert" })
  #remove
  #changed

  /**
   * @param {Pick<Options, "preset" | "lasting" | "fill">} options
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {() => void} changed
   */
  constructor(options, i18n, changed) {
    this.#options = options
    this.#i18n = i18n
    this.#changed = changed
    this.element.className = "own-presets"
    this.#remove = button(i18n.t("preset.delete"), () => this.#delete())
    this.#save = document.createElement("details")
    const summary = Object.assign(document.createElement("summary"), { textContent: i18n.t("preset.save") })
    this.#name = Object.assign(document.createElement("input"), {
      ariaLabel: i18n.t("preset.name"),
      placeholder: i18n.t("preset.name"),
      maxLength: LONGEST_NAME,
      autocomplete: "off",
    })
    this.#name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || isOfIme(event)) return
      event.preventDefault() // Enter in this field would otherwise send the links
      this.#add()
    })
    const line = Object.assign(document.createElement("div"), { className: "own-name" })
    line.append(this.#name, button(i18n.t("preset.keep"), () => this.#add()))
    this.#save.append(summary, line, this.#refused)
    this.#save.addEventListener("toggle", () => this.#save.open && this.#name.focus())
    this.element.append(this.#save, this.#remove)
  }

  get names() {
    return Object.keys(stored())
  }

  /** Return the name of the saved preset that equals the chosen options, or "". */
  get chosen() {
    const { lasting, preset } = this.#options
    const now = JSON.stringify(lasting)
    return preset
      ? ""
      : Object.entries(stored()).find(([, values]) => JSON.stringify(values) === now)?.[0] ?? ""
  }

  show() {
    this.#remove.hidden = !this.chosen
    const isUsual = JSON.stringify(this.#options.lasting) === USUAL
    this.#save.hidden = isUsual || Boolean(this.chosen) || this.names.length >= MOST
  }

  /** @param {string} name */
  choose(name) {
    const values = stored()[name]
    if (values) this.#options.fill(values)
    else this.#changed() // the preset was deleted in another tab
  }

  #add() {
    const name = this.#name.value.trim()
    if (!name) return this.#name.focus()
    const { lasting } = this.#options
    const isKept = remember(STORED, { ...stored(), [name]: lasting })
    setText(this.#refused, isKept ? "" : this.#i18n.t("preset.refused"))
    if (!isKept) return
    const summary = this.#save.querySelector("summary")
    this.#save.open = false
    this.#options.fill(lasting) // the reader's preset replaces one of the service
    this.#changed()
    this.#name.value = ""
    if (summary) (this.#remove.hidden ? summary : this.#remove).focus()
  }

  #delete() {
    const had = this.#remove.contains(document.activeElement)
    remember(STORED, without(stored(), this.chosen))
    this.#changed()
    if (had) this.#save.querySelector("summary")?.focus()
  }
}

/** @returns {Record<string, any>} */
function stored() {
  const found = recall(STORED, {})
  return found && typeof found === "object" ? found : {}
}

/**
 * @param {Record<string, any>} presets
 * @param {string} name
 */
const without = (presets, name) =>
  Object.fromEntries(Object.entries(presets).filter(([each]) => each !== name))

/**
 * @param {string} textContent
 * @param {() => void} then
 */
function button(textContent, then) {
  const made = Object.assign(document.createElement("button"), { type: "button", textContent })
  made.addEventListener("click", then)
  return made
}
