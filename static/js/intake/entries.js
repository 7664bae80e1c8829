// @ts-check
// The ticks of a growing list: a click ticks one entry, with shift a range; a button ticks all or none.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { setText } from "../base/dom.js"
import { iconButton, make, moveBetween } from "../base/elements.js"
import { EntryPictures } from "./entrypictures.js"

export class Ticks {
  /** @type {HTMLInputElement[]} */
  #boxes = []
  /** The box that was clicked last, where a range with shift begins. */
  #last = 0
  /** What `toggleAll` did last: false unticks boxes that are added later. */
  #areAll = true
  #changed

  /**
   * @param {HTMLElement} list
   * @param {() => void} changed
   */
  constructor(list, changed) {
    this.#changed = changed
    list.addEventListener("click", (event) => {
      const { target, shiftKey } = event
      if (target instanceof HTMLInputElement) this.#ticked(target, shiftKey)
      else if (shiftKey) this.#tickBy(event)
    })
    // With shift, the browser would select the text from the last click to this one.
    list.addEventListener("mousedown", (event) => {
      if (event.shiftKey && !(event.target instanceof HTMLInputElement)) event.preventDefault()
    })
  }

  get count() {
    return this.#boxes.length
  }

  /** Return the values of the ticked boxes, in order. */
  get chosen() {
    return this.#boxes.filter((box) => box.checked).map((box) => box.value)
  }

  clear() {
    this.#boxes = []
    this.#last = 0
    this.#areAll = true
  }

  /** @param {HTMLInputElement[]} boxes  without a tick if the entry is not to be chosen */
  add(boxes) {
    for (const box of boxes) box.checked &&= this.#areAll
    this.#boxes.push(...boxes)
    this.#changed()
  }

  /** Return the boxes that can be ticked: a search hides the others. */
  get open() {
    return this.#boxes.filter((box) => !box.disabled)
  }

  toggleAll() {
    const { open } = this
    this.#areAll = !open.every((box) => box.checked)
    for (const box of open) box.checked = this.#areAll
    this.#changed()
  }

  /**
   * Tick a box when its label is clicked with shift: browsers do not.
   * @param {MouseEvent} event
   */
  #tickBy(event) {
    const box = event.target instanceof Element && event.target.closest("label")?.control
    if (!(box instanceof HTMLInputElement)) return
    event.preventDefault()
    box.checked = !box.checked
    box.focus({ preventScroll: true })
    this.#ticked(box, true)
  }

  /**
   * @param {HTMLInputElement} box
   * @param {boolean} isRange
   */
  #ticked(box, isRange) {
    const at = this.#boxes.indexOf(box)
    const [from, to] = isRange ? [Math.min(at, this.#last), Math.max(at, this.#last)] : [at, at]
    for (const other of this.#boxes.slice(from, to + 1)) if (!other.disabled) other.checked = box.checked
    this.#last = at
    this.#changed()
  }
}

/**
 * Return the day of publication without the time, which few readers need and some sources lack; "" if the
 * source gives none.
 * @param {{published_at?: string}} entry
 * @param {string} language
 */
export function dayOf({ published_at = "" }, language) {
  const moment = new Date(published_at)
  if (Number.isNaN(moment.getTime())) return ""
  const timeZone = published_at.length === "2026-01-31".length ? "UTC" : undefined
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeZone }).format(moment)
}

/**
 * Write numbers as ranges: "1-3,7" for 1, 2, 3 and 7.
 * @param {number[]} numbers in order
 */
export function ranges(numbers) {
  /** @type {[number, number][]} */
  const found = []
  for (const number of numbers) {
    const last = found.at(-1)
    if (last && last[1] === number - 1) last[1] = number
    else found.push([number, number])
  }
  return found.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(",")
}

// The dialog to choose entries of a list, which the server returns page by page.

/** ms to wait for `POST /api/info`, which takes as long as the source. */
const PATIENCE_MS = 50_000

/** @typedef {import("./draft.js").Entry} Entry */

/** The dialog to choose entries. It follows a change of the page's language. */
function makeDialog() {
  const part = (/** @type {string} */ name, more = {}) => ({ "data-part": name, ...more })
  const close = iconButton("cancel", "", () => dialog.close())
  close.dataset.tLabel = "dialog.close"
  const all = make("label", { className: "tick" }, make("input", part("all", { type: "checkbox" })), " ")
  all.append(make("span", { "data-t": "filter.all" }))
  const words = { "data-t-placeholder": "entries.search", "data-t-label": "entries.search" }
  const search = make(
    "input",
    part("search", { type: "search", maxLength: 200, autocomplete: "off", ...words }),
  )
  const more = make("button", part("more", { type: "button", "data-t": "entries.more" }))
  const title = make("h2", part("title", { id: "entries-title", dir: "auto" }))
  const dialog = make("dialog", {
    id: "entries",
    className: "sheet wide",
    "aria-labelledby": "entries-title",
  })
  dialog.append(
    make("header", {}, title, close),
    make("div", { className: "entries-head" }, all, search),
    make("div", part("view", { className: "entries" }), make("ul", part("list")), make("p", {}, more)),
    make(
      "p",
      { className: "sheet-acts" },
      make("span", part("state", { className: "lead", role: "status" })),
      make("button", part("go", { className: "primary", type: "button" })),
    ),
  )
  document.body.append(dialog)
  return dialog
}

export class EntriesDialog {
  #dialog = makeDialog()
  #api
  #i18n
  #has
  #ticks
  #pictures
  #all
  #search
  /** Whether entries of pages that are loaded later are chosen, too. */
  #isWhole = false
  #url = ""
  /** The cursor of the next page, if there is one. @type {string | undefined} */
  #cursor
  /** How many entries the list has, if the source says so. @type {number | undefined} */
  #total
  /** @type {AbortController | null} */
  #request = null
  /** @type {(items: string | undefined) => void} */
  #chosen = () => {}

  /**
   * @param {import("../base/api.js").Api} api
   * @param {import("../base/i18n.js").I18n} i18n
   * @param {(url: string) => boolean} has  whether a finished task has this link
   */
  constructor(api, i18n, has) {
    this.#api = api
    this.#i18n = i18n
    this.#has = has
    this.#ticks = new Ticks(this.#part("list"), () => this.#count())
    this.#pictures = new EntryPictures(api, this.#part("view"))
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#empty())
    this.#all = /** @type {HTMLInputElement} */ (this.#part("all"))
    this.#search = /** @type {HTMLInputElement} */ (this.#part("search"))
    this.#all.addEventListener("click", () => {
      this.#isWhole = this.#all.checked && !this.#search.value
      this.#ticks.toggleAll()
    })
    this.#search.addEventListener("input", () => this.#find())
    this.#part("more").addEventListener("click", () => this.#more())
    this.#part("go").addEventListener("click", () => this.#go())
    this.#part("list").addEventListener("keydown", (event) => {
      moveBetween(this.#part("list"), "input", event)
      if (event.key === "Enter" && this.#ticks.chosen.length) this.#go()
    })
  }

  /**
   * @param {string} url
   * @param {(items: string | undefined) => void} then  gets the chosen entries as `playlist_items`; undefined: all
   */
  async open(url, then) {
    this.#empty()
    this.#url = url
    this.#chosen = then
    setText(this.#part("title"), url)
    this.#count()
    this.#i18n.translate(this.#dialog)
    openDialog(this.#dialog)
    const first = await this.#load()
    // A new dialog has its focus in the header.
    if (this.#dialog.querySelector("header :focus")) first?.focus()
  }

  #empty() {
    this.#request?.abort()
    this.#request = null
    this.#cursor = undefined
    this.#isWhole = false
    this.#search.value = ""
    this.#ticks.clear()
    this.#pictures.clear()
    this.#part("list").replaceChildren()
    this.#part("list").removeAttribute("data-pictures")
    this.#keepHeight(false)
    this.#part("more").hidden = true
    for (const name of ["title", "state"]) setText(this.#part(name), "")
  }

  /** Load the next page, and focus its first entry. */
  async #more() {
    ;(await this.#load())?.focus()
  }

  /** @returns {Promise<HTMLInputElement | undefined>}  the first tick box of the page */
  async #load() {
    if (this.#request) return
    const request = this.#request = new AbortController()
    setText(this.#part("state"), this.#i18n.t("entries.looking"))
    const how = { signal: request.signal, patience: PATIENCE_MS }
    try {
      const body = { url: this.#url, cursor: this.#cursor }
      return this.#show(await this.#api.send("POST", "api/info", body, {}, how))
    } catch (error) {
      if (request.signal.aborted) return
      if (!(error instanceof Problem)) throw error
      setText(this.#part("state"), error.message) // the loaded entries can still be chosen
    } finally {
      if (this.#request === request) this.#request = null
    }
  }

  /** @param {import("./draft.js").Info} info */
  #show({ title = "", entries = [], total_entries, next_cursor }) {
    const rows = entries.map((entry, at) => this.#row(entry, this.#ticks.count + at + 1))
    const ticks = rows.map((row) => /** @type {HTMLInputElement} */ (row.querySelector("input")))
    this.#part("list").append(...rows)
    if (entries.some(({ thumbnail }) => thumbnail)) this.#part("list").setAttribute("data-pictures", "")
    this.#cursor = next_cursor
    this.#total = total_entries
    this.#ticks.add(ticks)
    this.#find()
    this.#part("more").hidden = !next_cursor
    setText(this.#part("title"), title)
    this.#showState()
    return ticks.at(0)
  }

  #showState() {
    const isFound = this.#ticks.open.length > 0 || !this.#search.value
    setText(this.#part("state"), isFound ? this.#howMany() : this.#i18n.t("empty.no_match"))
  }

  #howMany() {
    const t = this.#i18n.t.bind(this.#i18n)
    const n = this.#ticks.count
    if (!this.#cursor) return t("preview.entries", { n })
    return this.#total ? t("entries.some", { n, total: this.#total }) : t("preview.entries_more", { n })
  }

  /**
   * @param {Entry} entry
   * @param {number} place  used if the entry has no index
   */
  #row(entry, place) {
    const { index, title, url, duration, thumbnail } = entry
    const isHere = Boolean(url && this.#has(url))
    const number = String(index ?? place)
    const tick = make("input", { type: "checkbox", value: number, checked: this.#isWhole })
    const { format, language } = this.#i18n
    const name = make("span", { className: "name", dir: "auto" }, title ?? url ?? "")
    const row = make("li")
    row.append(
      make(
        "label",
        { className: "tick" },
        tick,
        " ",
        make("span", { className: "place" }, number),
        this.#pictures.add(row, thumbnail),
        name,
      ),
      make(
        "span",
        { className: "facts" },
        ...(isHere ? [make("span", { className: "have" }, this.#i18n.t("entries.have"))] : []),
        make("span", {}, dayOf(entry, language)),
        make("span", {}, duration ? format.clock(duration) : ""),
      ),
    )
    return row
  }

  /** Hide the entries whose titles do not contain the text of the search. */
  #find() {
    const text = this.#search.value.trim().toLocaleLowerCase()
    this.#keepHeight(text !== "")
    for (const row of /** @type {Iterable<HTMLElement>} */ (this.#part("list").children)) {
      row.hidden = !row.querySelector(".name")?.textContent?.toLocaleLowerCase().includes(text)
      row.querySelector("input")?.toggleAttribute("disabled", row.hidden)
    }
    this.#count()
    if (!this.#request && this.#ticks.count) this.#showState()
  }

  /**
   * Keep the height of the list during a search: the dialog stands in the middle, so that with a lower list the
   * search field would move away from the reader.
   * @param {boolean} isKept
   */
  #keepHeight(isKept) {
    const view = this.#part("view")
    view.style.minBlockSize = isKept ? `min(${view.offsetHeight}px, 55dvh)` : ""
  }

  /** Return whether all entries are chosen, also those that are not loaded yet. */
  get #isAll() {
    return this.#isWhole && this.#ticks.chosen.length === this.#ticks.count
  }

  #count() {
    const button = /** @type {HTMLButtonElement} */ (this.#part("go"))
    const { t } = { t: this.#i18n.t.bind(this.#i18n) }
    const { open, chosen } = this.#ticks
    const n = this.#isAll ? this.#total ?? (this.#cursor ? 0 : chosen.length) : chosen.length
    setText(button, n ? t("submit.go_many", { n }) : t(this.#isAll ? "list.every" : "submit.go"))
    button.disabled = chosen.length === 0
    this.#all.checked = open.length > 0 && open.every((box) => box.checked)
    this.#all.indeterminate = !this.#all.checked && open.some((box) => box.checked)
  }

  #go() {
    const items = this.#isAll ? undefined : ranges(this.#ticks.chosen.map(Number))
    this.#dialog.close()
    this.#chosen(items)
  }

  /**
   * @param {string} name
   * @returns {HTMLElement}
   */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#dialog.querySelector(`[data-part=${name}]`))
  }
}
