// @ts-check
// The dialog of the subscriptions: all of them, or one of them, or the settings of one.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { arrange, keepFocus, setText } from "../base/dom.js"
import { button, icon, iconButton, make, moveBetween } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { SubscriptionForm } from "./subscriptionform.js"
import { FOLLOWS, LIBRARY } from "./remembered.js"
import { check, enable, hasLibrary, repeat, upload } from "./subscriptionrequests.js"
import { addressParts, pictureOf, showPicture, SubscriptionView } from "./subscriptionview.js"
import { countsOf, heldUntil, NOTICES, statusOf } from "./subscriptionwords.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

const PAGE = 200
/** With that many the list is asked for less often. */
const MANY = 200
const EVERY_MS = 5_000
const EVERY_MS_OF_MANY = 30_000
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

// All subscriptions, each in a row that changes in place.

class ListOfSubscriptions {
  element
  #view
  #list = make("ul", { className: "follow-list" })
  #state = make("p", { className: "lead", role: "status" })
  #more
  #save
  #feeds
  #pages = 1
  /** @type {Map<string, SubscriptionRow>} */
  #rows = new Map()
  /** @type {() => void} */
  #settle = () => {}
  /** The first answer is here, or none came. @type {Promise<void>} */
  loaded = new Promise((resolve) => (this.#settle = resolve))

  /** @param {SubscriptionsView} view */
  constructor(view) {
    this.#view = view
    const { t } = view.i18n
    const say = t.bind(view.i18n)
    this.#more = button(say("entries.more"), () => this.#showMore(), { hidden: true })
    this.#feeds = new FeedAddresses(view, () => this.load())
    const save = make("a", { className: "button", download: "subscriptions.opml" }, say("follow.export"))
    this.#save = save
    save.hidden = true
    save.href = view.api.url("api/subscriptions.opml").href
    this.element = make(
      "div",
      {},
      this.#state,
      this.#list,
      this.#more,
      this.#feeds.element,
      make(
        "p",
        { className: "follow-acts quiet" },
        this.#taker("follow.import", ".opml,.xml,text/x-opml", (file) => this.#importOpml(file)),
        this.#taker("follow.import_archive", ".txt,text/plain", (file) => this.#importArchive(file)),
        save,
      ),
    )
    setText(this.#state, say("preview.looking"))
    this.#list.addEventListener("keydown", (event) => moveBetween(this.#list, ".follow-open", event))
  }

  /** @returns {Promise<number>}  after how many milliseconds to load it again */
  async load() {
    const { api, i18n } = this.#view
    try {
      /** @type {Subscription[]} */
      const all = []
      /** @type {string | undefined} */
      let cursor
      for (let page = 0; page < this.#pages; page += 1) {
        const answer = await api.get("api/subscriptions", { limit: PAGE, cursor })
        all.push(...answer.subscriptions)
        cursor = answer.next_cursor
        if (!cursor) break
      }
      this.#more.hidden = !cursor
      this.#showAll(all)
      this.#save.hidden = !all.length
      this.#feeds.show(all.some(({ feed }) => feed))
      remember(FOLLOWS, all.length > 0)
      setText(this.#state, all.length ? "" : i18n.t("follow.empty"))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      setText(this.#state, error.message)
    } finally {
      this.#settle()
    }
    return this.#rows.size > MANY ? EVERY_MS_OF_MANY : EVERY_MS
  }

  /** @param {string} id */
  focus(id) {
    this.#rows.get(id)?.focus()
  }

  /** @param {Subscription[]} all */
  #showAll(all) {
    for (const each of all) {
      const row = this.#rows.get(each.subscription_id)
      if (!row) this.#rows.set(each.subscription_id, new SubscriptionRow(this.#view, each, () => this.load()))
    }
    const shown = new Set(all.map((each) => each.subscription_id))
    for (const id of this.#rows.keys()) if (!shown.has(id)) this.#rows.delete(id)
    this.#view.keepFocus(() => arrange(this.#list, [...this.#inOrder(all)].map(({ element }) => element)))
    for (const each of all) this.#rows.get(each.subscription_id)?.show(each)
  }

  /** @param {Subscription[]} all */
  *#inOrder(all) {
    for (const { subscription_id } of all) {
      const row = this.#rows.get(subscription_id)
      if (row) yield row
    }
  }

  async #showMore() {
    const last = [...this.#rows.keys()].at(-1)
    this.#pages += 1
    await this.load()
    const ids = [...this.#rows.keys()]
    this.focus(ids[ids.indexOf(last ?? "") + 1] ?? "")
  }

  /**
   * A button that takes a file.
   * @param {string} key
   * @param {string} accept
   * @param {(file: File) => Promise<void>} take
   */
  #taker(key, accept, take) {
    const input = make("input", { type: "file", accept, className: "unseen" })
    input.addEventListener("change", async () => {
      const [file] = input.files ?? []
      if (file) await this.#view.attempt(() => take(file))
      input.value = "" // the same one may be taken again
    })
    return make("label", { className: "button" }, input, this.#view.i18n.t(key))
  }

  /** @param {File} file */
  async #importOpml(file) {
    const { api, i18n } = this.#view
    const unanswered = i18n.t("problem.no_answer")
    const body = await upload(api, "api/subscriptions.opml", "text/x-opml", file, unanswered)
    await this.load()
    /** @type {{url: string, status: number, problem?: object}[]} */
    const results = body.results
    const [added, known] = [201, 409].map((status) => results.filter((each) => each.status === status).length)
    const refused = results.filter(({ status }) => status !== 201 && status !== 409)
    const reasons = refused.slice(0, 5).map(({ url, status, problem = {} }) =>
      `${url}: ${new Problem(status, problem).message}`
    )
    setText(this.#state, i18n.t("follow.imported", { added, known, refused: refused.length }))
    this.#view.complain(reasons.join("\n"))
  }

  /** @param {File} file  what yt-dlp has fetched, by its `--download-archive` */
  async #importArchive(file) {
    const { api, i18n } = this.#view
    const unanswered = i18n.t("problem.no_answer")
    const { taken, known, unreadable } = await upload(api, "api/media", "text/plain", file, unanswered)
    setText(this.#state, i18n.t("follow.imported_archive", { taken, known }))
    const lines = unreadable.slice(0, 10).join(", ") + (unreadable.length > 10 ? ", …" : "")
    this.#view.complain(lines && i18n.t("follow.unreadable", { lines }))
  }
}

/** The address of the list of all podcast feeds, once there is a feed; all of them change together. */
class FeedAddresses {
  element = make("div", { className: "follow-feeds", hidden: true })
  #view
  #reload
  #address = make("p", { className: "follow-feed" })
  #ask = make("div", { className: "follow-ask", hidden: true })
  #renew

  /**
   * @param {SubscriptionsView} view
   * @param {() => unknown} reload
   */
  constructor(view, reload) {
    this.#view = view
    this.#reload = reload
    this.#renew = button(view.i18n.t("follow.renew"), () => this.#question())
    this.element.append(this.#address, this.#ask)
  }

  /** @param {boolean} hasFeeds */
  async show(hasFeeds) {
    if (!hasFeeds) this.element.hidden = true
    else if (this.element.hidden) {
      const { opml } = await this.#view.api.get("api/feeds").catch(() => ({})) // asked again with the list
      if (opml) this.#put(opml)
    }
  }

  /** @param {string} opml */
  #put(opml) {
    this.#address.replaceChildren(...addressParts("follow.feeds", opml, this.#view.i18n), this.#renew)
    this.element.hidden = false
  }

  /** Apps that have the old addresses read nothing more: that is asked. */
  #question() {
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const close = () => {
      this.#ask.hidden = true
      this.#renew.focus()
    }
    const no = button(t("follow.delete_not"), close)
    const yes = button(t("follow.renew_now"), () =>
      this.#view.attempt(async () => {
        this.#put((await this.#view.api.send("POST", "api/feeds/renew")).opml)
        close()
        await this.#reload()
      }))
    this.#ask.replaceChildren(make("p", { role: "status" }, t("follow.renew_ask")), yes, no)
    this.#ask.hidden = false
    no.focus()
  }
}

class SubscriptionRow {
  element
  #view
  #name = make("bdi")
  #facts = make("span", { className: "follow-facts" })
  #counts = make("span", { className: "follow-counts" })
  #picture = pictureOf()
  #cause = make("span", { className: "follow-cause" })
  #open
  #check
  #pause
  /** @type {Subscription} */
  #subscription

  /**
   * @param {SubscriptionsView} view
   * @param {Subscription} subscription
   * @param {() => unknown} reload
   */
  constructor(view, subscription, reload) {
    const t = view.i18n.t.bind(view.i18n)
    const id = subscription.subscription_id
    this.#view = view
    this.#subscription = subscription
    this.#open = make(
      "button",
      { type: "button", className: "follow-open", onclick: () => view.one(id) },
      make("span", { className: "follow-name" }, this.#name),
      this.#facts,
      this.#counts,
      this.#cause,
    )
    this.#check = iconButton(
      "retry",
      t("follow.check"),
      () => this.#act(() => check(view.api, id), reload),
    )
    this.#pause = iconButton(
      "pause",
      t("follow.pause"),
      () => this.#act(() => enable(view.api, id, !this.#subscription.enabled), reload),
    )
    this.element = make("li", {}, this.#picture, this.#open, this.#check, this.#pause)
    this.show(subscription)
  }

  focus() {
    this.#open.focus()
  }

  /**
   * @param {() => Promise<Subscription>} act
   * @param {() => unknown} reload  others of its host may be held no more
   */
  async #act(act, reload) {
    const after = await this.#view.attempt(act)
    if (after) this.show(after)
    await reload()
  }

  /** @param {Subscription} subscription */
  show(subscription) {
    if (subscription.revision < this.#subscription.revision) return // asked for before the last change
    this.#subscription = subscription
    const { i18n } = this.#view
    const { name, enabled, stage, items, error, error_code = "", notice, moved_to: url = "" } = subscription
    this.element.dataset.stage = stage
    showPicture(this.#picture, subscription)
    setText(this.#name, name)
    setText(this.#facts, statusOf(subscription, i18n, heldUntil(subscription)))
    setText(this.#counts, countsOf(items, i18n).join(" · "))
    const cause = notice ? i18n.t(NOTICES[notice], { url }) : ""
    setText(this.#cause, stage === "failing" ? error ?? error_code : cause)
    const act = i18n.t(enabled ? "follow.pause" : "follow.resume")
    this.#pause.title = act
    this.#pause.ariaLabel = `${act}: ${name}`
    this.#check.ariaLabel = `${i18n.t("follow.check")}: ${name}`
    this.#pause.querySelector("use")?.setAttribute("href", enabled ? "#i-pause" : "#i-resume")
  }
}
