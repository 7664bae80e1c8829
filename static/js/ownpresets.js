// @ts-check
// Choices that the reader has saved under a name, in this browser. They fill in the options; those of the service are
// resolved there.

import { recall, remember } from "./preferences.js"

/** @typedef {Pick<import("./options.js").Options, "preset" | "lasting" | "fill">} Options */

const STORED = "presets"
const MOST = 30
const LONGEST_NAME = 40
/** Before the names of these in the menu: the service may have others of the same names. */
export const OWN = "own:"

/** Below the menu of presets: saves what is chosen, and deletes what was saved. */
export class OwnPresets {
  element = document.createElement("div")
  #options
  #save
  #name
  #remove
  #changed

  /**
   * @param {Options} options
   * @param {import("./i18n.js").I18n} i18n
   * @param {() => void} changed
   */
  constructor(options, i18n, changed) {
    this.#options = options
    this.#changed = changed
    this.element.className = "own-presets"
    this.#remove = button(i18n.t("preset.delete"), () => this.#keep(without(stored(), this.chosen)))
    this.#save = document.createElement("details")
    const summary = Object.assign(document.createElement("summary"), { textContent: i18n.t("preset.save") })
    this.#name = Object.assign(document.createElement("input"), {
      ariaLabel: i18n.t("preset.name"),
      placeholder: i18n.t("preset.name"),
      maxLength: LONGEST_NAME,
      autocomplete: "off",
    })
    this.#name.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.isComposing) return
      event.preventDefault() // it would send the links
      this.#add()
    })
    const line = Object.assign(document.createElement("div"), { className: "own-name" })
    line.append(this.#name, button(i18n.t("preset.keep"), () => this.#add()))
    this.#save.append(summary, line)
    this.#save.addEventListener("toggle", () => this.#save.open && this.#name.focus())
    this.element.append(this.#save, this.#remove)
  }

  get names() {
    return Object.keys(stored())
  }

  /** The name of what is chosen, if it was saved; "": it was not. */
  get chosen() {
    const { lasting, preset } = this.#options
    const now = JSON.stringify(lasting)
    return preset
      ? ""
      : Object.entries(stored()).find(([, values]) => JSON.stringify(values) === now)?.[0] ?? ""
  }

  show() {
    this.#remove.hidden = !this.chosen
    this.#save.hidden = Boolean(this.chosen) || this.names.length >= MOST
  }

  /** @param {string} name */
  choose(name) {
    this.#options.fill(stored()[name] ?? {})
  }

  #add() {
    const name = this.#name.value.trim()
    if (!name) return this.#name.focus()
    const { lasting } = this.#options
    const summary = this.#save.querySelector("summary")
    this.#save.open = false
    this.#options.fill(lasting) // no longer a preset of the service
    this.#keep({ ...stored(), [name]: lasting })
    this.#name.value = ""
    if (summary) (this.#remove.hidden ? summary : this.#remove).focus()
  }

  /** @param {Record<string, any>} presets */
  #keep(presets) {
    const had = this.#remove.contains(document.activeElement)
    remember(STORED, presets)
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
