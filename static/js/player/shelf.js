// @ts-check
// What is finished as a wall of covers: a press plays it, and each says whether it was watched, or how much is left.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { on, setText } from "../base/dom.js"
import { iconButton, make, searchField } from "../base/elements.js"
import { isPlayable } from "../row/files.js"
import { hostOf, titleOf, webLink } from "../tasks/task.js"
import { watchedOf } from "./watched.js"

/** @typedef {import("../tasks/task.js").Task} Task */

const PAGE = 60

export class Shelf {
  #parts
  #dialog
  #covers = make("ul", { className: "shelf" })
  #end = make("p", { className: "lead", role: "status" })
  /** Where the next page begins; "": there is none. */
  #cursor = ""
  #text = ""
  /** Of the last question: an answer to one before it is not shown. */
  #asked = 0
  #isAsking = false

  /**
   * @param {object} parts
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {(task: Task) => unknown} parts.play
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    this.#parts = parts
    this.#dialog = make("dialog", { id: "shelf", className: "sheet wide", "aria-labelledby": "shelf-title" })
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#clear())
    this.#covers.addEventListener("keydown", (event) => this.#pressed(event))
    document.addEventListener("close", () => setTimeout(() => this.#refresh()), true) // after the player has noted it
    document.body.append(this.#dialog)
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.#cursor && this.#load(), {
      root: this.#dialog,
      rootMargin: "600px",
    }).observe(this.#end)
    on(parts.tasks, "removed", (ids) => {
      for (const id of ids) this.#cover(id)?.remove()
    })
  }

  async open() {
    const { i18n } = this.#parts
    const search = searchField(i18n.t("filter.search"), (text) => this.#begin(text))
    this.#dialog.replaceChildren(
      make(
        "header",
        {},
        make("h2", { id: "shelf-title" }, i18n.t("filter.completed")),
        search,
        iconButton("cancel", i18n.t("dialog.close"), () => this.#dialog.close()),
      ),
      this.#covers,
      this.#end,
    )
    openDialog(this.#dialog)
    await this.#begin("")
    this.#covers.querySelector("button")?.focus({ preventScroll: true })
  }

  /** @param {string} text  that is searched for */
  async #begin(text) {
    this.#clear()
    this.#text = text
    await this.#load()
  }

  #clear() {
    this.#asked += 1
    this.#isAsking = false
    this.#cursor = ""
    this.#covers.replaceChildren()
    setText(this.#end, "")
  }

  async #load() {
    if (this.#isAsking) return
    this.#isAsking = true
    const asked = this.#asked
    const { api, i18n } = this.#parts
    const query = {
      status: "completed",
      q: this.#text || undefined,
      limit: PAGE,
      cursor: this.#cursor || undefined,
    }
    try {
      const { tasks, next_cursor = "" } = await api.get("api/tasks", query)
      if (asked !== this.#asked) return
      this.#covers.append(...tasks.filter(isPlayable).map((/** @type {Task} */ task) => this.#newCover(task)))
      this.#cursor = next_cursor
      setText(this.#end, next_cursor || this.#covers.children.length ? "" : i18n.t("empty.no_match"))
      const [first] = this.#buttons
      if (first && !this.#covers.querySelector("[tabindex='0']")) first.tabIndex = 0
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (asked === this.#asked) setText(this.#end, error.message)
    } finally {
      if (asked === this.#asked) this.#isAsking = false
    }
    const isShort = this.#end.getBoundingClientRect().top < this.#dialog.clientHeight
    if (asked === this.#asked && this.#cursor && isShort) await this.#load()
  }

  /** @param {Task} task */
  #newCover(task) {
    const { i18n, play } = this.#parts
    const { duration, uploader } = task.video_info
    const picture = webLink(task.thumbnail)?.href
    const button = make(
      "button",
      { type: "button", tabIndex: -1, title: titleOf(task), onclick: () => play(task) },
      make(
        "span",
        { className: "picture" },
        picture ? make("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }) : make(
          "span",
          { className: "letter", "aria-hidden": "true" },
          (hostOf(task)[0] ?? "").toUpperCase(),
        ),
        ...(duration ? [make("span", { className: "length" }, i18n.format.clock(duration))] : []),
        make("span", { className: "bar" }, make("span", { className: "fill" })),
      ),
      make("span", { className: "title", dir: "auto" }, titleOf(task)),
      make("span", { className: "lead", dir: "auto" }, uploader ?? hostOf(task)),
      make("span", { className: "lead watched" }),
    )
    const cover = make("li", { "data-id": task.task_id }, button)
    this.#mark(cover)
    return cover
  }

  #refresh() {
    for (const cover of this.#covers.children) this.#mark(/** @type {HTMLElement} */ (cover))
  }

  /**
   * Show how far it was watched.
   * @param {HTMLElement} cover
   */
  #mark(cover) {
    const { i18n } = this.#parts
    const { at, of, isSeen } = watchedOf(cover.dataset.id ?? "")
    const fill = /** @type {HTMLElement} */ (cover.querySelector(".fill"))
    fill.style.transform = at ? `scaleX(${isSeen ? 1 : at / of})` : ""
    cover.toggleAttribute("data-watched", at > 0)
    const left = at ? i18n.t("shelf.left", { time: i18n.format.clock(of - at) }) : ""
    setText(
      /** @type {HTMLElement} */ (cover.querySelector(".watched")),
      isSeen ? i18n.t("shelf.seen") : left,
    )
  }

  /** @param {string} id */
  #cover(id) {
    return this.#covers.querySelector(`[data-id="${CSS.escape(id)}"]`)
  }

  get #buttons() {
    return /** @type {HTMLElement[]} */ ([...this.#covers.querySelectorAll("button")])
  }

  /**
   * The wall is one stop of Tab; the arrows go from cover to cover.
   * @param {KeyboardEvent} event
   */
  #pressed(event) {
    const buttons = this.#buttons
    const at = buttons.indexOf(/** @type {HTMLElement} */ (event.target))
    const top = buttons[0]?.getBoundingClientRect().top
    const columns = Math.max(1, buttons.filter((each) => each.getBoundingClientRect().top === top).length)
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key]
    const next = event.key === "Home"
      ? buttons[0]
      : event.key === "End"
      ? buttons.at(-1)
      : buttons[at + (by ?? NaN)]
    if (at < 0 || !next) return
    event.preventDefault()
    buttons[at].tabIndex = -1
    next.tabIndex = 0
    next.focus()
  }
}
