// @ts-check
// The dialog of the subscriptions: all of them, or one of them, or the settings of one.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { keepFocus, setText } from "../base/dom.js"
import { icon, iconButton, make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { hasLibrary } from "../base/library.js"
import { SubscriptionForm } from "./subscriptionform.js"
import { FOLLOWS, LIBRARY } from "./remembered.js"
import { ListOfSubscriptions } from "./subscriptionlist.js"
import { repeat } from "./subscriptionrequests.js"
import { SubscriptionView } from "./subscriptionview.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

/** Fields that concern one download only, or are not for the entries of a list. */
const NOT_OF_LISTS = ["url", "playlist", "playlist_items", "start_at", "auto_start", "reuse", "clip"]

export class SubscriptionsView {
  #parts
  #dialog
  #title = make("h2", { id: "subscriptions-title", tabIndex: -1, dir: "auto" })
  #back
  #problem = make("p", { className: "problem", role: "alert" })
  #body = make("div", { className: "follow-body" })
  /** What was begun last. @type {Promise<unknown>} */
  #last = Promise.resolve()
  /** What is shown ends its requests. */
  #end = () => {}
  /** Leads back to what was shown before. @type {(() => unknown) | null} */
  #before = null
  /** Whether what is shown may go: nothing in it would be lost. @type {() => boolean} */
  #mayLeave = () => true

  /** @param {import("./subscriptions.js").Parts} parts */
  constructor(parts) {
    this.#parts = parts
    const close = make(
      "form",
      { method: "dialog" },
      make("button", { className: "icon-only", "data-t-label": "dialog.close" }, icon("cancel")),
    )
    close.addEventListener("submit", (event) => this.#mayLeave() || event.preventDefault())
    this.#back = iconButton("chevron", "", () => this.#stepBack())
    this.#back.dataset.tLabel = "follow.back"
    this.#back.removeAttribute("title")
    this.#dialog = make(
      "dialog",
      { id: "subscriptions", className: "sheet wide", "aria-labelledby": "subscriptions-title" },
      make("header", {}, this.#back, this.#title, close),
      this.#problem,
      this.#body,
    )
    this.#dialog.addEventListener(
      "click",
      ({ target }) => target === this.#dialog && this.#mayLeave() && this.#dialog.close(),
    )
    this.#dialog.addEventListener("keydown", (event) => {
      const isOfForm = event.key === "Escape" && !event.isComposing && event.target instanceof Element &&
        event.target.closest(".follow-form")
      if (!isOfForm) return
      event.preventDefault()
      this.#stepBack()
    })
    this.#dialog.addEventListener("close", () => this.#clear())
    document.body.append(this.#dialog)
  }

  get api() {
    return this.#parts.api
  }

  get i18n() {
    return this.#parts.i18n
  }

  /** Show all. */
  async open() {
    this.#show()
    await this.list()
  }

  /**
   * Subscribe to a link, with the options that are chosen at the box, and show what becomes of it.
   * @param {string} url
   * @param {import("./subscriptions.js").PartsOfBox} parts
   */
  async subscribe(url, { box, options }) {
    const request = Object.fromEntries(
      Object.entries(options.request).filter(([name]) => !NOT_OF_LISTS.includes(name)),
    )
    let id
    let isNew = true
    try {
      const layout = request.preset ? "" : recall(LIBRARY, "") // a preset may say where
      const library = layout && await hasLibrary(this.api) ? { layout } : undefined
      const isPlain = !Object.keys(request).length // then a default profile may say how
      const wanted = { url, request: isPlain ? undefined : request, library }
      ;({ subscription_id: id } = await this.api.send("POST", "api/subscriptions", wanted))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      id = /** @type {any} */ (error.body).subscription_id // of one to the same, if that is what is wrong
      if (!id) return box.complain(new Map([[url, error.message]]))
      isNew = false
    }
    remember(FOLLOWS, true)
    options.forget()
    box.take([url])
    // There the focus is again once the dialog is closed: the button that was pressed has gone.
    if (matchMedia("(pointer: fine)").matches) box.focus()
    this.#show()
    await this.one(id, isNew)
    if (!isNew) this.complain(this.i18n.t("follow.already"))
  }

  /**
   * All of them.
   * @param {string} [focused]  the one that has been looked at
   */
  async list(focused) {
    const list = new ListOfSubscriptions(this)
    this.#put(this.i18n.t("follow.title"), list.element, null)
    this.#end = repeat(() => list.load())
    await list.loaded
    if (focused) list.focus(focused)
  }

  /**
   * One of them.
   * @param {string} id
   * @param {boolean} [isNew]  it has just been subscribed to
   */
  async one(id, isNew = false) {
    const view = new SubscriptionView(this, id, isNew)
    this.#put("", view.element, () => this.list(id))
    this.#end = view.begin()
    await view.loaded
    this.#title.focus()
  }

  /** @param {Subscription} subscription  whose settings are to be changed */
  async edit(subscription) {
    const { subscription_id: id, name } = subscription
    const form = new SubscriptionForm(this, subscription, () => this.one(id))
    this.#put(name, form.element, () => this.one(id), () => form.mayLeave())
    await form.begin()
  }

  /** @param {string} title */
  call(title) {
    setText(this.#title, title)
  }

  /**
   * Say what went wrong; "": nothing.
   * @param {string} message
   */
  complain(message) {
    setText(this.#problem, message)
  }

  /**
   * Do something that the server may refuse, and say so: one thing after the other, since of two requests the second
   * might be answered first.
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
   * Change what is shown; the focus goes to the title if that hides what has it.
   * @param {() => void} change
   */
  keepFocus(change) {
    keepFocus(this.#title, change)
  }

  #show() {
    this.i18n.translate(this.#dialog)
    if (!this.#dialog.open) openDialog(this.#dialog, () => this.#stepBack())
  }

  /**
   * @param {string} title
   * @param {HTMLElement} element
   * @param {(() => unknown) | null} before
   * @param {() => boolean} [mayLeave]
   */
  #put(title, element, before, mayLeave = () => true) {
    this.#end()
    this.#end = () => {}
    this.call(title)
    this.complain("")
    this.#back.hidden = !before
    this.#before = before
    this.#mayLeave = mayLeave
    this.#body.replaceChildren(element)
    this.#dialog.scrollTop = 0
    this.#title.focus()
  }

  /** Go back to what was shown before, if nothing is lost by that; false: there was nothing. */
  #stepBack() {
    if (!this.#before) return false
    if (this.#mayLeave()) this.#before()
    return true
  }

  /** It is made anew each time: the next user of this browser may not be logged in. */
  #clear() {
    this.#end()
    this.#dialog.remove()
  }
}
