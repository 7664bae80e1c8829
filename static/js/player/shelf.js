// @ts-check
// Finished films as a wall of covers. A press plays a film; each cover says whether it was watched, or how
// much is left. Each subscription is a shelf of the wall. New and deleted films are shown at once, unless
// this would move a cover under the pointer.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { on, setText } from "../base/dom.js"
import { button, icon, iconButton, make, searchField } from "../base/elements.js"
import { isPlayable } from "../row/files.js"
import {
  allSubscriptions,
  hasNew,
  letterOf,
  needsReader,
  noteVisit,
  pictureOf,
  showPicture,
  visitOf,
} from "../subscriptions/glance.js"
import { hostOf, titleOf, webLink } from "../tasks/task.js"
import { watchedOf } from "./watched.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("../subscriptions/subscriptionwords.js").Subscription} Subscription */

const PAGE = 60

export class Shelf {
  #parts
  #dialog
  #shelves = make("fieldset", { className: "shelves" })
  #about = make("p", { className: "lead shelf-about" })
  #due = button("", () => this.#settle(true), { className: "due", hidden: true })
  #covers = make("ul", { className: "shelf" })
  #end = make("p", { className: "lead", role: "status" })
  /** Id of the subscription whose shelf is shown; "" shows all. */
  #id = ""
  /** Films that were finished after this time count as new. */
  #since = Infinity
  /** The cursor of the next page; "" if there is none. */
  #cursor = ""
  #text = ""
  /** The number of the last request: the answer to an earlier one is not shown. */
  #asked = 0
  #isAsking = false
  /** Tasks that were finished after the wall was opened and are not in it yet. @type {Map<string, Task>} */
  #coming = new Map()

  /**
   * @param {object} parts
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {(task: Task) => unknown} parts.play
   * @param {(id: string) => unknown} parts.openSubscription
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    this.#parts = parts
    this.#dialog = make("dialog", { id: "shelf", className: "sheet wide", "aria-labelledby": "shelf-title" })
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#clear())
    this.#covers.addEventListener("keydown", (event) => this.#pressed(event))
    for (const aimedAt of [this.#covers, this.#due]) {
      aimedAt.addEventListener("pointerleave", () => this.#settle())
    }
    // The player has to store the position of the film first.
    document.addEventListener("close", () => setTimeout(() => this.#refresh()), true)
    document.body.append(this.#dialog)
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && this.#cursor && this.#load(), {
      root: this.#dialog,
      rootMargin: "600px",
    }).observe(this.#end)
    on(parts.tasks, "change", (changes) => {
      if (this.#dialog.open) { for (const { task } of changes) this.#changed(task) }
    })
    on(parts.tasks, "removed", (ids) => {
      for (const id of ids) this.#leave(id)
      this.#settle()
    })
  }

  async open() {
    const { i18n } = this.#parts
    const search = searchField(i18n.t("filter.search"), (text) => this.#begin(text))
    this.#shelves.replaceChildren()
    this.#dialog.replaceChildren(
      make(
        "header",
        {},
        make("h2", { id: "shelf-title" }, i18n.t("filter.completed")),
        search,
        iconButton("cancel", i18n.t("dialog.close"), () => this.#dialog.close()),
      ),
      this.#shelves,
      this.#about,
      make("div", { className: "due-place" }, this.#due),
      this.#covers,
      this.#end,
    )
    openDialog(this.#dialog)
    this.#choose()
    this.#showShelves()
    await this.#begin("")
    this.#covers.querySelector("button")?.focus({ preventScroll: true })
  }

  /** Show a shelf for each subscription: first those that need the reader, then those with new films. */
  async #showShelves() {
    const { api, i18n } = this.#parts
    const all = await allSubscriptions(api).catch(() => []) // on an error, the wall of all films is enough
    if (!this.#dialog.open || this.#shelves.children.length) return
    const rankOf = (/** @type {Subscription} */ one) => needsReader(one) ? 0 : hasNew(one, i18n) ? 1 : 2
    const ranked = all.sort((a, b) => rankOf(a) - rankOf(b))
    this.#shelves.hidden = !all.length
    this.#shelves.replaceChildren(
      make("legend", { className: "unseen" }, i18n.t("follow.title")),
      this.#newShelf(),
      ...ranked.map((one) => this.#newShelf(one)),
    )
  }

  /** @param {Subscription} [subscription]  else all of them */
  #newShelf(subscription) {
    const { i18n } = this.#parts
    const name = subscription?.name ?? i18n.t("filter.all")
    const picture = pictureOf()
    if (subscription) showPicture(picture, subscription)
    const isNeedy = subscription && needsReader(subscription)
    const isNew = subscription && hasNew(subscription, i18n)
    const mark = isNeedy ? "!" : isNew ? i18n.t("section.new") : ""
    const choice = make("input", {
      type: "radio",
      name: "shelf",
      value: subscription?.subscription_id ?? "",
      checked: !subscription,
      onchange: () => {
        this.#choose(subscription)
        // By looking at this shelf the reader sees its new films.
        if (!isNeedy) label.querySelector(".mark")?.remove()
        return this.#begin(this.#text)
      },
    })
    const label = make(
      "label",
      { title: name, className: isNeedy ? "needs" : "" },
      choice,
      make(
        "span",
        { className: "face" },
        picture,
        make(
          "span",
          { className: "follow-letter", "aria-hidden": "true" },
          subscription ? letterOf(name) : icon("play"),
        ),
        ...(mark ? [make("span", { className: "mark" }, mark)] : []),
      ),
      make("span", { className: "name", dir: "auto" }, name.replace(/^https?:\/\/(www\.)?/, "")),
    )
    return label
  }

  /** @param {Subscription} [subscription]  whose shelf is to be shown; else all */
  #choose(subscription) {
    const { i18n, openSubscription } = this.#parts
    this.#id = subscription?.subscription_id ?? ""
    this.#since = subscription ? visitOf(this.#id, i18n) : Infinity
    this.#about.hidden = !subscription
    if (!subscription) return
    noteVisit(this.#id, i18n)
    const { held, stage, error, error_code = "" } = subscription
    const words = [
      stage === "failing" ? error ?? error_code : "",
      held ? i18n.t("follow.held", { n: held }) : "",
    ].filter(Boolean)
    this.#about.replaceChildren(
      ...words.map((each) => make("span", { className: "needs" }, each)),
      button(i18n.t("follow.open"), () => openSubscription(this.#id)),
    )
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
    this.#coming.clear()
    this.#due.hidden = true
    this.#covers.replaceChildren()
    setText(this.#end, "")
  }

  async #load() {
    if (this.#isAsking) return
    this.#isAsking = true
    const asked = this.#asked
    try {
      const { tasks, next_cursor = "" } = await this.#page()
      if (asked !== this.#asked) return
      const found = tasks.filter((task) => isPlayable(task) && !this.#cover(task.task_id))
      for (const { task_id } of found) this.#coming.delete(task_id)
      this.#covers.append(...found.map((task) => this.#newCover(task)))
      this.#cursor = next_cursor
      this.#sayEnd()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (asked === this.#asked) setText(this.#end, error.message)
    } finally {
      if (asked === this.#asked) this.#isAsking = false
    }
    const isShort = this.#end.getBoundingClientRect().top < this.#dialog.clientHeight
    if (asked === this.#asked && this.#cursor && isShort) await this.#load()
  }

  /** @returns {Promise<{tasks: Task[], next_cursor?: string}>} */
  async #page() {
    const { api } = this.#parts
    const query = { q: this.#text || undefined, limit: PAGE, cursor: this.#cursor || undefined }
    if (!this.#id) return await api.get("api/tasks", { ...query, status: "completed" })
    const path = `api/subscriptions/${this.#id}/items`
    const { items, next_cursor } = await api.get(path, { ...query, state: "fetched" })
    const ids = items.flatMap((/** @type {{task_id?: string}} */ { task_id }) => task_id ?? [])
    const { tasks } = ids.length ? await api.get("api/tasks", { ids: ids.join(",") }) : { tasks: [] }
    return { tasks, next_cursor }
  }

  #sayEnd() {
    const isEmpty = !this.#cursor && !this.#covers.children.length
    setText(this.#end, isEmpty ? this.#parts.i18n.t(this.#text ? "empty.no_match" : "shelf.empty") : "")
    const [first] = this.#buttons
    if (first && !this.#covers.querySelector("[tabindex='0']")) first.tabIndex = 0
  }

  /** @param {Task} task */
  #changed(task) {
    const id = task.task_id
    const isFinished = task.stage === "completed" && isPlayable(task)
    const isOfShelf = !this.#id || this.#id === task.subscription_id
    if (!isFinished) this.#leave(id)
    else if (isOfShelf && !this.#text && !this.#isAsking && !this.#cover(id)) this.#coming.set(id, task)
    this.#settle()
  }

  /** @param {string} id  what has gone stays in its place, faded, as long as others would move */
  #leave(id) {
    this.#coming.delete(id)
    const cover = this.#cover(id)
    cover?.toggleAttribute("data-gone", true)
    cover?.querySelector("button")?.setAttribute("aria-disabled", "true")
  }

  /**
   * Show new films and remove deleted ones, unless this moves covers that the reader may be about to press.
   * @param {boolean} [isAsked] by the reader
   */
  #settle(isAsked = false) {
    const isAimedAt = [this.#covers, this.#due].some((each) => each.matches(":hover")) ||
      matchMedia("(hover: none)").matches
    if (!isAsked && (isAimedAt || this.#dialog.scrollTop > 0)) {
      this.#due.hidden = !this.#coming.size
      return setText(this.#due, this.#parts.i18n.t("list.due", { n: this.#coming.size }))
    }
    this.#due.hidden = true
    if (isAsked) this.#dialog.scrollTop = 0
    const hadFocus = this.#covers.contains(document.activeElement)
    for (const gone of this.#covers.querySelectorAll("[data-gone]")) gone.remove()
    this.#covers.prepend(...[...this.#coming.values()].reverse().map((task) => this.#newCover(task)))
    this.#coming.clear()
    this.#sayEnd()
    if (hadFocus && !this.#covers.contains(document.activeElement)) this.#buttons[0]?.focus()
  }

  /** @param {Task} task */
  #newCover(task) {
    const { i18n, play } = this.#parts
    const { duration, uploader } = task.video_info
    const picture = webLink(task.thumbnail)?.href
    const button = make(
      "button",
      {
        type: "button",
        tabIndex: -1,
        title: titleOf(task),
        onclick: () => cover.hasAttribute("data-gone") || play(task),
      },
      make(
        "span",
        { className: "picture" },
        picture ? make("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }) : make(
          "span",
          { className: "letter", "aria-hidden": "true" },
          (hostOf(task)[0] ?? "").toUpperCase(),
        ),
        ...(duration ? [make("span", { className: "length" }, i18n.format.clock(duration))] : []),
        ...(Date.parse(task.completed_at ?? "") > this.#since
          ? [make("span", { className: "mark" }, i18n.t("section.new"))]
          : []),
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
   * Show on a cover how far its film was watched.
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
   * Move the focus by the arrow keys from cover to cover. The whole wall is one stop of Tab.
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
