// @ts-check
// A dialog that shows one of several views, with the way back to the view before, and messages of what went
// wrong.

import { Problem } from "./api.js"
import { openDialog } from "./dialogs.js"
import { keepFocus, setText } from "./dom.js"
import { icon, iconButton, make } from "./elements.js"

const mayAlways = () => true

/** @param {HTMLInputElement} field */
const isFilledIn = ({ type, value, defaultValue }) => type !== "checkbox" && value !== defaultValue

export class Room {
  #parts
  #dialog
  #title
  #back
  #problem = make("p", { className: "problem", role: "alert" })
  #body = make("div", { className: "room-body" })
  /** The request that was begun last. @type {Promise<unknown>} */
  #last = Promise.resolve()
  /** Goes back to the view that was shown before. @type {(() => unknown) | null} */
  #before = null
  /** Says whether the view may be left, because nothing in it would be lost. @type {() => boolean} */
  #mayLeave = mayAlways
  /** Aborts the requests of the view. */
  end = () => {}

  /**
   * @param {{api: import("./api.js").Api, i18n: import("./i18n.js").I18n}} parts
   * @param {string} id
   * @param {string} back  the text of the way back
   */
  constructor(parts, id, back) {
    this.#parts = parts
    this.#title = make("h2", { id: `${id}-title`, tabIndex: -1, dir: "auto" })
    const close = make(
      "form",
      { method: "dialog" },
      make("button", { className: "icon-only", "data-t-label": "dialog.close" }, icon("cancel")),
    )
    close.addEventListener("submit", (event) => this.#mayLeave() || event.preventDefault())
    this.#back = iconButton("chevron", "", () => this.#stepBack())
    this.#back.classList.add("room-back")
    this.#back.dataset.tLabel = back
    this.#back.removeAttribute("title")
    this.#dialog = make(
      "dialog",
      { id, className: "sheet wide room", "aria-labelledby": `${id}-title` },
      make("header", {}, this.#back, this.#title, close),
      this.#problem,
      this.#body,
    )
    this.#dialog.addEventListener(
      "click",
      ({ target }) => target === this.#dialog && this.#mayLeave() && this.#dialog.close(),
    )
    this.#dialog.addEventListener("keydown", (event) => this.#pressed(event))
    this.#dialog.addEventListener("close", () => this.#clear())
    document.body.append(this.#dialog)
  }

  get api() {
    return this.#parts.api
  }

  get i18n() {
    return this.#parts.i18n
  }

  show() {
    this.i18n.translate(this.#dialog)
    if (!this.#dialog.open) openDialog(this.#dialog, () => this.#stepBack())
  }

  /**
   * @param {string} title
   * @param {HTMLElement} element
   * @param {(() => unknown) | null} before
   * @param {() => boolean} [mayLeave]
   */
  put(title, element, before, mayLeave = mayAlways) {
    this.end()
    this.end = () => {}
    this.call(title)
    this.complain("")
    this.#back.hidden = !before
    this.#before = before
    this.#mayLeave = mayLeave
    this.#body.replaceChildren(element)
    this.#dialog.scrollTop = 0
    this.focusTitle()
  }

  focusTitle() {
    this.#title.focus()
  }

  /** @param {string} title */
  call(title) {
    setText(this.#title, title)
  }

  /**
   * Show what went wrong; "" hides the message.
   * @param {string} message
   */
  complain(message) {
    setText(this.#problem, message)
  }

  /**
   * Do something that the server may refuse, and show the refusal. Actions wait for each other, since the
   * second of two requests might be answered first.
   * @template T
   * @param {() => Promise<T>} act
   * @returns {Promise<T | undefined>}
   */
  async attempt(act) {
    this.complain("")
    const done = this.#last.then(act)
    this.#last = done.catch(() => {})
    try {
      return await done
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      this.complain(error.message)
    }
  }

  /**
   * Do something as `attempt` does; return whether it was done.
   * @param {() => Promise<unknown>} act
   */
  async isDone(act) {
    return Boolean(await this.attempt(() => act().then(() => true)))
  }

  /**
   * Change what is shown; the focus goes to the title if that hides what has it.
   * @param {() => void} change
   */
  keepFocus(change) {
    keepFocus(this.#title, change)
  }

  /**
   * Handle Escape in a form: it leads a step back and closes nothing. In a form with input that would be lost
   * without a question, it only leaves the field.
   * @param {KeyboardEvent} event
   */
  #pressed(event) {
    const form = event.target instanceof Element && event.target.closest("form:not([method=dialog])")
    if (event.key !== "Escape" || event.isComposing || !form) return
    const isBegun = this.#mayLeave === mayAlways && [...form.querySelectorAll("input")].some(isFilledIn)
    if (!isBegun && !this.#before) return
    event.preventDefault()
    if (isBegun) this.focusTitle()
    else this.#stepBack()
  }

  /**
   * Go back to the view before, unless something would be lost; return false only if there is no view before.
   */
  #stepBack() {
    if (!this.#before) return false
    if (this.#mayLeave()) this.#before()
    return true
  }

  /** The dialog is made anew each time, since the next user of this browser may not be logged in. */
  #clear() {
    this.end()
    this.#dialog.remove()
  }
}
