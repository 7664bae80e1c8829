// @ts-check
// The view of one subscription: its state with the reason, its actions, and its entries.

import { setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"
import { noteVisit, pictureOf, showPicture } from "./glance.js"
import { ItemList } from "./subscriptionitems.js"
import { remember } from "../base/preferences.js"
import { hasLibrary, LAYOUTS } from "../base/library.js"
import { LIBRARY } from "./remembered.js"
import { actOnAll, actOnKeys, check, enable, watchOne } from "./subscriptionrequests.js"
import { fromNow, heldUntil, NOTICES, statusOf } from "./subscriptionwords.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */
/** @typedef {import("./subscriptionwords.js").Item} Item */

/** The number of older entries that one click fetches. */
const FEW = 5
/** The number of waiting entries that are read at a time to find those that are held. */
const PAGE = 200

export class SubscriptionView {
  element
  #view
  #id
  /** Whether to ask what shall happen to the entries that were there before. */
  #isNew
  /** @type {Subscription | null} */
  #subscription = null
  #link = make("a", { rel: "noreferrer", target: "_blank", dir: "ltr" })
  #status = make("p", { className: "lead", role: "status" })
  #picture = pictureOf()
  #about = make("p", { className: "follow-about", dir: "auto" })
  #cause = make("div", { className: "follow-why" })
  #found = make("div", { className: "follow-ask" })
  #held = make("div", { className: "follow-ask" })
  #feed = make("p", { className: "follow-feed" })
  #library = make("div", { className: "follow-ask" })
  #layout = make("select")
  #asksLibrary = false
  /** The buttons of the subscription; hidden until its state is known. */
  #acts = make("div", { className: "follow-acts", hidden: true })
  #sure = make("div", { className: "follow-ask" })
  #pause
  #items
  /** @type {() => void} */
  #settle = () => {}
  /** Resolves when the first answers are shown. @type {Promise<void>} */
  loaded = new Promise((resolve) => (this.#settle = resolve))

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   * @param {string} id
   * @param {boolean} isNew
   */
  constructor(view, id, isNew) {
    this.#view = view
    this.#id = id
    this.#isNew = isNew
    const t = view.i18n.t.bind(view.i18n)
    this.#items = new ItemList(view, id)
    this.#pause = button(t("follow.pause"), () => this.#toggle())
    this.#acts.append(
      button(t("follow.check"), () => this.#do(() => check(view.api, id))),
      this.#pause,
      button(t("follow.edit"), () => this.#subscription && view.edit(this.#subscription)),
      button(t("action.delete"), () => this.#ask()),
    )
    this.#layout.append(
      new Option(t("follow.layout_none"), ""),
      ...Object.entries(LAYOUTS).map(([layout, key]) => new Option(t(key), layout)),
    )
    this.#library.append(make("label", {}, t("follow.layout"), " ", this.#layout))
    for (const part of [this.#library, this.#cause, this.#found, this.#held, this.#feed, this.#sure]) {
      part.hidden = true
    }
    this.element = make(
      "div",
      { className: "follow-one" },
      make(
        "div",
        { className: "follow-top" },
        this.#picture,
        make("div", {}, make("p", { className: "follow-link" }, this.#link), this.#status, this.#about),
        this.#acts,
      ),
      this.#sure,
      this.#cause,
      this.#library,
      this.#found,
      this.#held,
      this.#feed,
      this.#items.element,
    )
    setText(this.#status, t("preview.looking"))
  }

  /** @returns {() => void}  ends its requests */
  begin() {
    const end = watchOne(this.#view.api, this.#id, (subscription) => {
      if (subscription) this.#show(subscription)
      else this.#view.list()
      this.#settle()
    })
    if (this.#isNew) this.#askLibrary()
    return () => {
      end()
      this.#items.end()
    }
  }

  /** @param {Subscription} subscription */
  #show(subscription) {
    const before = this.#subscription
    if (before && before.revision > subscription.revision) return // the answer is older than the last change
    this.#subscription = subscription
    this.#acts.hidden = false
    const { i18n } = this.#view
    const t = i18n.t.bind(i18n)
    const { url, name, enabled, checked_at, feed } = subscription
    this.#view.call(name)
    noteVisit(this.#id, i18n)
    showPicture(this.#picture, subscription)
    setText(this.#about, subscription.description ?? "")
    this.#about.title = subscription.description ?? ""
    this.#link.href = /^https?:/i.test(url) ? url : ""
    setText(this.#link, url)
    const held = heldUntil(subscription)
    const last = checked_at &&
      t("follow.last", { time: fromNow(Date.parse(checked_at) - i18n.now(), i18n.language) })
    setText(this.#status, [statusOf(subscription, i18n, held), last].filter(Boolean).join(" · "))
    setText(this.#pause, t(enabled ? "follow.pause" : "follow.resume"))
    this.#view.keepFocus(() => {
      this.#showCause(subscription, held)
      this.#showFound(subscription)
      this.#showHeld(subscription.held ?? 0)
      this.#showFeed(feed?.url)
      this.#showLibrary(subscription)
    })
    const isPlaced = Boolean(subscription.library)
    const isOther = JSON.stringify(before?.items) !== JSON.stringify(subscription.items)
    if (isOther || Boolean(before?.library) !== isPlaced) {
      this.#items.changed(subscription.items, isPlaced)
    }
  }

  /**
   * @param {Subscription} subscription
   * @param {number} held
   */
  #showCause({ stage, error = "", error_code = "", hint = "", notice, moved_to = "", feeds = [] }, held) {
    const { i18n } = this.#view
    const fails = stage === "failing"
    const others = feeds.slice(1)
    this.#cause.hidden = !fails && !notice && !moved_to && !others.length
    if (this.#cause.hidden) return
    const time = held ? i18n.format.moment(new Date(held)) : ""
    this.#cause.replaceChildren(
      ...(fails ? [make("p", {}, error || error_code)] : []),
      ...(fails && hint ? [make("p", {}, hint)] : []),
      ...(fails && held ? [make("p", {}, i18n.t("follow.host_held_long", { time }))] : []),
      ...(fails ? [make("code", {}, error_code)] : []),
      ...(notice ? [make("p", {}, i18n.t(NOTICES[notice], { url: moved_to }))] : []),
      ...(moved_to && !notice ? [make("p", {}, i18n.t("follow.moves", { url: moved_to }))] : []),
      ...(others.length ? [make("p", {}, i18n.t("follow.other_feeds"))] : []),
      ...others.map(({ url, title }) => make("p", { dir: "auto" }, [title, url].filter(Boolean).join(" · "))),
    )
  }

  /**
   * Show what the first check has found, and ask what shall happen to it, until some of it is fetched.
   * @param {Subscription} subscription
   */
  #showFound({ stage, items }) {
    const { known = 0, skipped = 0, ...others } = items
    const n = known
    this.#isNew ||= n > 0 && !Object.keys(others).length
    const isAsked = this.#isNew && n > 0 && stage !== "seeding"
    if (!isAsked) return void (this.#found.hidden = true)
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const words = t("follow.found", { n })
    // Unchanged: a button may have the focus.
    if (this.#found.dataset.n === String(n) && !this.#found.hidden) return
    this.#found.dataset.n = String(n)
    this.#found.hidden = false
    this.#found.replaceChildren(
      make("p", { role: "status" }, words),
      ...(n > FEW ? [button(t("follow.fetch_last", { n: FEW }), () => this.#fetchLast())] : []),
      button(
        t("follow.fetch_all", { n }),
        () => this.#act(() => actOnAll(this.#view.api, this.#id, "fetch", "known", n)),
      ),
      button(t("list.choose"), () => this.#items.choose("known")),
    )
  }

  /**
   * Show the held entries, which wait for the reader's decision.
   * @param {number} n
   */
  #showHeld(n) {
    this.#held.hidden = !n
    if (!n || this.#held.dataset.n === String(n)) return // unchanged: a button may have the focus
    this.#held.dataset.n = String(n)
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    /** @type {Promise<string[]> | undefined} */
    let keys
    // Both buttons act on the same entries, also if one is pressed right after the other.
    const act = (/** @type {string} */ action) => {
      keys ??= this.#keysOfHeld()
      keys.catch(() => (keys = undefined)) // after an error the next press reads the entries again
      return this.#actOnHeld(action, keys)
    }
    this.#held.replaceChildren(
      make("p", { role: "status" }, t("follow.held", { n })),
      button(t("follow.fetch_all", { n }), () => act("fetch")),
      button(t("follow.skip_all", { n }), () => act("skip")),
      button(t("list.choose"), () => this.#items.choose("waiting")),
    )
  }

  /**
   * Let the reader choose the layout of a new subscription in the library; the next subscription begins with
   * the same.
   * @param {Subscription} subscription
   */
  #showLibrary({ library }) {
    const form = library && (library.layout ?? (library.name ? "" : "shows"))
    // A template gives the path, so there is no layout to choose.
    this.#library.hidden = !this.#asksLibrary || form === ""
    this.#layout.value = form ?? ""
  }

  async #askLibrary() {
    const { api } = this.#view
    if (!await hasLibrary(api)) return
    this.#asksLibrary = true
    this.#layout.addEventListener("change", () => {
      const layout = this.#layout.value
      remember(LIBRARY, layout)
      const library = layout ? { layout } : null
      this.#do(() => api.send("PATCH", `api/subscriptions/${this.#id}`, { library }))
    })
    if (this.#subscription) this.#showLibrary(this.#subscription)
  }

  /** @param {string | undefined} url */
  #showFeed(url) {
    this.#feed.hidden = !url
    if (!url || this.#feed.dataset.url === url) return
    this.#feed.dataset.url = url
    this.#feed.replaceChildren(...addressParts("follow.feed", url, this.#view.i18n))
  }

  /** Ask what shall happen to the files before unsubscribing, which cannot be taken back. */
  #ask() {
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const leave = async (/** @type {string} */ files) => {
      await this.#view.attempt(async () => {
        await this.#view.api.send("DELETE", `api/subscriptions/${this.#id}?files=${files}`)
        await this.#view.list()
      })
    }
    const keep = button(t("follow.delete_keep"), () => leave("keep"))
    this.#sure.replaceChildren(
      make("p", {}, t("follow.delete_ask")),
      keep,
      button(t("follow.delete_files"), () => leave("delete")),
      button(t("follow.cancel"), () => this.#view.keepFocus(() => (this.#sure.hidden = true))),
    )
    this.#sure.hidden = false
    keep.focus()
  }

  async #toggle() {
    const enabled = !this.#subscription?.enabled
    await this.#do(() => enable(this.#view.api, this.#id, enabled))
  }

  /** @param {() => Promise<Subscription>} act */
  async #do(act) {
    const after = await this.#view.attempt(act)
    if (after) this.#show(after)
  }

  #fetchLast() {
    return this.#act(async () => {
      const path = `api/subscriptions/${this.#id}/items`
      /** @type {{items: Item[]}} */
      const { items } = await this.#view.api.get(path, { state: "known", limit: FEW })
      return await actOnKeys(this.#view.api, this.#id, "fetch", items.map(({ key }) => key))
    })
  }

  /**
   * Do `action` with held entries only. Other waiting entries begin by themselves at their time.
   * @param {string} action
   * @param {Promise<string[]>} keys
   */
  #actOnHeld(action, keys) {
    return this.#act(async () => await actOnKeys(this.#view.api, this.#id, action, await keys))
  }

  async #keysOfHeld() {
    const path = `api/subscriptions/${this.#id}/items`
    /** @type {string | undefined} */
    let cursor
    /** @type {string[]} */
    const keys = []
    do {
      const query = { state: "waiting", limit: PAGE, cursor }
      /** @type {{items: Item[], next_cursor?: string}} */
      const { items, next_cursor } = await this.#view.api.get(path, query)
      keys.push(...items.filter(({ reason }) => reason === "held").map(({ key }) => key))
      cursor = next_cursor
    } while (cursor)
    return keys
  }

  /** @param {() => Promise<import("./subscriptionrequests.js").Outcome>} act  on entries */
  async #act(act) {
    await this.#view.attempt(async () => {
      const outcome = await act()
      this.#isNew = false
      this.#view.keepFocus(() => (this.#found.hidden = true))
      this.#items.acted(outcome)
      if (outcome.problem) throw outcome.problem
    })
  }
}

/**
 * Make a line with an address for other programs, its name, and a button that copies it.
 * @param {string} name of the text that names it
 * @param {string} url
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function addressParts(name, url, i18n) {
  const link = new URL(url, document.baseURI).href
  const said = make("span", { role: "status" })
  const copy = button(i18n.t("action.copy"), async () => {
    await navigator.clipboard?.writeText(link)
    setText(said, i18n.t("announce.copied"))
  })
  copy.hidden = !navigator.clipboard // over plain http the reader can mark and copy the link by hand
  return [make("span", {}, i18n.t(name)), make("a", { href: link, dir: "ltr" }, link), copy, said]
}
