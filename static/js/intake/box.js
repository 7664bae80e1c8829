// @ts-check
// Finds the links in a pasted text: apps share a link in a sentence, people in brackets and lists.

import { byId, isOfIme, setText } from "../base/dom.js"

const FULL_WIDTH = /[[\u3000-\u303f\ufe10-\ufe1f\ufe30-\ufe6f\uff00-\uff65]&&[\p{P}\p{S}\p{Z}]]/v.source
// All invisible characters but joiners, which are parts of words.
const INVISIBLE = /[[\p{Cc}\p{Cf}]--[\u200c\u200d]]/v.source
const QUOTES = '["`<>“”„‟‘’‚‛«»]'
/** Characters that end a link. An apostrophe may be part of a link. */
const END = `\\s|${QUOTES}|${FULL_WIDTH}|${INVISIBLE}`
/** In a list without spaces the next link begins right behind a comma. */
const NEXT = "['\\)\\]]{0,2}[,;\\|]['\\(\\[]{0,2}(?:https?://|www\\.)"
/** A link without https://, as people write it, if it is not within another word or link. */
const BARE = "(?<![\\w.\\/@\\-])www\\.(?=[\\w\\-]+\\.)"
/** Podcast sites write these schemes in place of `http:`. */
const OF_FEED = "(?<!\\w)(?:feed|itpc)://"
const LINK = new RegExp(`(?:https?://|${OF_FEED}|${BARE})(?:(?!${END}|${NEXT}).)+`, "giv")
const CLOSING = new Set(".,;:!?'…")
/** @type {Record<string, string>} */
const OPENING = { ")": "(", "]": "[", "}": "{" }

/**
 * Return each link of each line, in order. A line without a link is returned as it is: the server says what
 * is wrong with it.
 * @param {string} text
 * @returns {string[]}
 */
export function linksIn(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean)
  return lines.flatMap((line) => {
    const found = (line.match(LINK) ?? []).map(withoutPunctuation)
    const links = found.map((link) =>
      link.replace(/^(?=www\.)/i, "https://").replace(/^(feed|itpc):/i, "http:")
    )
      .filter((link) => URL.canParse(link))
    return links.length ? links : [line]
  })
}

/**
 * Return the link without punctuation of the sentence around it; a bracket that was opened within the link
 * stays.
 * @param {string} link
 */
function withoutPunctuation(link) {
  const unopened = unopenedBrackets(link)
  let end = link.length
  for (; end > 0; end -= 1) {
    const last = link[end - 1]
    if (last in OPENING ? unopened[last]-- <= 0 : !CLOSING.has(last)) break
  }
  return link.slice(0, end)
}

/**
 * Count how many closing brackets of each kind have no opening one.
 * @param {string} link
 */
function unopenedBrackets(link) {
  const count = (/** @type {string} */ bracket) => link.split(bracket).length - 1
  return Object.fromEntries(
    Object.entries(OPENING).map(([close, open]) => [close, count(close) - count(open)]),
  )
}

// What is dropped on the page: links, a text, or files of text.

const MOST_TEXT_BYTES = 1_000_000

/**
 * Return whether the page handles a drop on a field itself. The browser can insert a text, but it would open
 * a file in place of the page, and write a link into the middle of another link.
 * @param {DataTransfer | null} transfer
 */
export const isOurs = (transfer) =>
  transfer?.types.some((type) => type === "Files" || type === "text/uri-list") ?? false

/** @param {DataTransfer} transfer */
export async function textIn(transfer) {
  const dragged = linksOf(transfer) || transfer.getData("text")
  const texts = [...transfer.files].filter(({ type, size }) =>
    type.startsWith("text/") && size <= MOST_TEXT_BYTES
  )
  return [dragged, ...(await Promise.all(texts.map((file) => file.text())))].join("\n")
}

/**
 * Return the links of a `text/uri-list` (RFC 2483), without its comments.
 * @param {DataTransfer} transfer
 */
function linksOf(transfer) {
  const lines = transfer.getData("text/uri-list").split(/[\r\n]+/)
  return lines.filter((line) => !line.startsWith("#")).join("\n")
}

// The box of links, which collects what is typed, pasted anywhere, dropped or shared, and sends nothing by
// itself.

const MOST_ROWS = 12
/** A paste into one of these elements is not meant for the box. */
const FIELDS = "input, textarea, select, dialog, [contenteditable]"

/** Fires "change" when its text has changed. */
export class Box extends EventTarget {
  #form = byId("submit", HTMLFormElement)
  #area = byId("links", HTMLTextAreaElement)
  #draft = byId("draft", HTMLElement)
  /** The two buttons that send the box: one beside it, one in the row of its link. */
  #buttons = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("[data-part=go], [data-part=verb]")])
  /** The text of the buttons for a single link; "" stands for "Download". */
  #words = ""
  #note = byId("note", HTMLElement)
  #problems = /** @type {HTMLElement} */ (this.#form.querySelector("[data-part=problems]"))
  /**
   * The reasons why lines were refused; a reason is dropped when its line changes.
   * @type {Map<string, string>}
   */
  #refused = new Map()
  /** @type {{text: string, links: string[]}} */
  #read = { text: "", links: [] }
  #i18n

  /** @param {import("../base/i18n.js").I18n} i18n */
  constructor(i18n) {
    super()
    this.#i18n = i18n
    this.#area.addEventListener("input", (event) => {
      if (/** @type {InputEvent} */ (event).inputType === "insertFromPaste") this.#scrollToStart()
      this.#changed()
    })
    this.#area.addEventListener("keydown", (event) => this.#pressed(event))
    document.addEventListener("paste", (event) => this.#pasted(event))
    document.addEventListener("dragover", (event) => this.#isTaken(event) && event.preventDefault())
    document.addEventListener("drop", (event) => this.#dropped(event))
    // From here on the box sets the texts of the buttons.
    for (const each of this.#buttons) delete each.dataset.t
    this.describe()
  }

  /** Return the links in the box, each once. */
  get links() {
    return [...new Set(this.#all)]
  }

  /** Return all links in the box, which are read once for each text: there may be a thousand. */
  get #all() {
    const { value } = this.#area
    if (value !== this.#read.text) this.#read = { text: value, links: linksIn(value) }
    return this.#read.links
  }

  /** Return the link in the box if it is the only one, else "". */
  get link() {
    const [link = "", ...others] = this.links
    return others.length || !/^https?:/i.test(link) ? "" : link
  }

  get text() {
    return this.#area.value
  }

  get hasFocus() {
    const { activeElement } = document
    return this.#form.contains(activeElement) || this.#draft.contains(activeElement)
  }

  /** @param {string} text */
  fill(text) {
    this.#area.value = text
    this.#changed()
  }

  /**
   * Append the text on a new line.
   * @param {string} text
   */
  add(text) {
    this.fill([this.#area.value.trimEnd(), text.trim()].filter(Boolean).join("\n"))
    this.#scrollToStart()
  }

  /**
   * Scroll to the beginning of the link, which names the site; the browser would show the end, where the
   * caret is.
   */
  #scrollToStart() {
    requestAnimationFrame(() => (this.#area.scrollLeft = 0))
  }

  /**
   * Remove these links from the box; the rest stays, and so does the caret in it.
   * @param {string[]} links
   */
  take(links) {
    const { value } = this.#area
    const taken = new Set(links)
    /**
     * Changes of the text, from its end on. Adjacent lines become one change: each change costs a look at the
     * whole text.
     * @type {{text: string, from: number, to: number}[]}
     */
    const changes = []
    let end = value.length
    for (const line of value.split("\n").reverse()) {
      const from = end - line.length
      const found = linksIn(line)
      const stays = found.filter((link) => !taken.has(link))
      if (stays.length < found.length) {
        const to = end + Number(!stays.length && end < value.length) // a whole line goes with its line feed
        const below = changes.at(-1)
        if (below?.from === to) below.from = from
        else changes.push({ text: stays.join("\n"), from, to })
      }
      end = from - 1
    }
    for (const { text, from, to } of changes) this.#area.setRangeText(text, from, to, "preserve")
    if (!this.#area.value.trim()) this.#area.value = ""
    this.#refused.clear()
    this.#changed()
  }

  /**
   * Put links back above the text that was typed meanwhile, in which the caret stays.
   * @param {string[]} links
   */
  putBack(links) {
    const lines = links.filter((link) => !this.links.includes(link))
    if (this.#area.value) lines.push("")
    this.#area.setRangeText(lines.join("\n"), 0, 0, this.#area.value ? "preserve" : "end")
    this.#changed()
  }

  focus() {
    this.#area.focus()
  }

  /** Focus the button that sends: the request is complete. */
  focusGo() {
    this.#buttons.find((each) => each.checkVisibility())?.focus()
  }

  /** @param {string} text  a note that is no error */
  say(text) {
    setText(this.#note, text)
  }

  /** @param {Map<string, string>} refused  line -> reason; "": for all lines */
  complain(refused) {
    this.#refused = new Map([...this.#refused, ...refused])
    this.#showProblems()
  }

  /** @param {string} words  what the button does with the one link; "": it downloads */
  name(words) {
    this.#words = words
    this.describe()
  }

  /** Update the buttons after a change of the language or of the number of links. */
  describe() {
    const count = this.links.length
    const words = count > 1 ? this.#i18n.t("submit.go_many", { n: count }) : this.#i18n.t("submit.go")
    for (const each of this.#buttons) setText(each, (count === 1 && this.#words) || words)
  }

  #changed() {
    const all = this.#all
    const again = all.length - new Set(all).size
    this.#area.rows = Math.min(this.#area.value.split("\n").length, MOST_ROWS)
    this.say(again ? this.#i18n.t("submit.merged", { n: again }) : "")
    for (const line of this.#refused.keys()) if (!all.includes(line)) this.#refused.delete(line)
    this.#showProblems()
    this.#words = ""
    this.describe()
    this.dispatchEvent(new Event("change"))
  }

  #showProblems() {
    const rows = [...this.#refused].map(([line, reason]) => {
      const row = document.createElement("p") // no li: screen readers count only rows of tasks as list items
      const text = Object.assign(document.createElement("span"), { className: "line", textContent: line })
      row.append(text, reason)
      return row
    })
    this.#problems.replaceChildren(...rows)
    this.#area.ariaInvalid = String(rows.length > 0)
  }

  /** @param {KeyboardEvent} event */
  #pressed(event) {
    if (event.key !== "Enter" || event.shiftKey || isOfIme(event)) return
    event.preventDefault()
    this.#form.requestSubmit()
  }

  /** @param {ClipboardEvent} event */
  #pasted(event) {
    const text = event.clipboardData?.getData("text") ?? ""
    if (!text.trim() || !this.#isWelcome(event)) return
    event.preventDefault()
    this.add(text)
    this.focus()
  }

  /** @param {DragEvent} event */
  async #dropped(event) {
    if (!this.#isTaken(event) || !event.dataTransfer) return
    event.preventDefault()
    this.add(await textIn(event.dataTransfer))
    this.focus()
  }

  /** @param {Event} event  whether it happened outside of all fields, while there is a box to see */
  #isWelcome({ target }) {
    return this.#area.checkVisibility() && !(target instanceof Element && target.closest(FIELDS))
  }

  /** @param {DragEvent} event */
  #isTaken(event) {
    return this.#isWelcome(event) || (event.target === this.#area && isOurs(event.dataTransfer))
  }
}
