// @ts-check
// The list of all subscriptions, each in a row that changes in place. The reader searches it, sorts it, and
// ticks rows to act on many at once.

import { Problem } from "../base/api.js"
import { arrange, setFacts, setText, unbroken } from "../base/dom.js"
import { button, iconButton, make, moveBetween, searchField } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { Ticks } from "../intake/entries.js"
import { hasNew, letterOf, pictureOf, showPicture } from "./glance.js"
import { FOLLOWS, SORT } from "./remembered.js"
import { actOnMany, check, enable, upload } from "./subscriptionrequests.js"
import { addressParts } from "./subscriptionview.js"
import { countsOf, heldUntil, NOTICES, statusOf } from "./subscriptionwords.js"
import { TickedBar } from "./tickedbar.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

const PAGE = 200
/** With at least so many subscriptions the list is requested less often. */
const MANY = 200
const EVERY_MS = 5_000
const EVERY_MS_OF_MANY = 30_000
/** The list can be searched from this number on; fewer subscriptions are in sight at once. */
const SEARCHED_FROM = 6
/** The most refusals that are shown. */
const SAID = 5
/**
 * The orders of the list by the server's names. The first one has those that need the reader first, then the
 * newest.
 * @type {Record<string, string>}
 */
const SORTS = {
  trouble: "follow.sort_trouble",
  "": "follow.sort_added",
  name: "follow.sort_name",
  newest: "follow.sort_newest",
}
/** Actions on ticked subscriptions: name, which subscriptions it applies to, key of its text. @type {[string, (one: Subscription) => boolean, string][]} */
const ACTS = [
  ["pause", ({ enabled }) => enabled, "selected.pause"],
  ["resume", ({ enabled }) => !enabled, "selected.resume"],
  ["check", ({ enabled }) => enabled, "follow.check_n"],
  ["profile", () => true, "follow.profile_n"],
  ["delete", () => true, "selected.delete"],
]

export class ListOfSubscriptions {
  element
  #view
  #list = make("ul", { className: "follow-list" })
  #state = make("p", { className: "lead", role: "status" })
  /** The message with the result of an import. */
  #imported = make("p", { className: "lead", role: "status" })
  #head
  #search
  #sort
  #text = ""
  #more
  #save
  #feeds
  #pages = 1
  /** The number of the last request for the list: the answer to an earlier one may come later. */
  #asked = 0
  /** @type {Map<string, SubscriptionRow>} */
  #rows = new Map()
  #ticks
  #bar
  #isActing = false
  /** Whether the reader has asked for another order or search, so that rows may move. */
  #isAsked = true
  /** Names of the service's profiles. @type {string[]} */
  #profiles = []
  /** @type {() => void} */
  #settle = () => {}
  /** Resolves when the first answer has come, or has failed. @type {Promise<void>} */
  loaded = new Promise((resolve) => (this.#settle = resolve))

  /** @param {import("./subscriptionsview.js").SubscriptionsView} view */
  constructor(view) {
    this.#view = view
    const say = view.i18n.t.bind(view.i18n)
    this.#search = searchField(say("follow.search"), (text) => this.#find(text))
    this.#sort = make(
      "select",
      { "aria-label": say("sort.label"), onchange: () => this.#reorder() },
      ...Object.entries(SORTS).map(([sort, key]) => new Option(say(key), sort)),
    )
    this.#sort.value = recall(SORT, "trouble")
    const toggle = button(say("entries.toggle"), () => this.#ticks.toggleAll())
    this.#head = make("div", { className: "follow-head", hidden: true }, this.#search, this.#sort, toggle)
    this.#bar = new TickedBar(view, say("follow.selected_many"))
    this.#ticks = new Ticks(this.#list, () => this.#showBar())
    this.#more = button(say("entries.more"), () => this.#showMore(), { hidden: true })
    this.#feeds = new FeedAddresses(view, () => this.load())
    const save = make("a", { className: "button", download: "subscriptions.opml" }, say("follow.export"))
    this.#save = save
    save.hidden = true
    save.href = view.api.url("api/subscriptions.opml").href
    this.element = make(
      "div",
      {},
      this.#head,
      this.#state,
      this.#list,
      this.#more,
      this.#bar.element,
      this.#feeds.element,
      make(
        "p",
        { className: "follow-acts quiet" },
        this.#taker("follow.import", ".opml,.xml,text/x-opml", (file) => this.#importOpml(file)),
        this.#taker("follow.import_archive", ".txt,text/plain", (file) => this.#importArchive(file)),
        save,
      ),
      this.#imported,
    )
    setText(this.#state, say("preview.looking"))
    this.#list.addEventListener("keydown", (event) => {
      moveBetween(this.#list, event.target instanceof HTMLInputElement ? "input" : ".follow-open", event)
    })
    this.#askProfiles()
  }

  /** @returns {Promise<number>}  after how many milliseconds to load it again */
  async load() {
    const { api, i18n } = this.#view
    const asked = ++this.#asked
    try {
      /** @type {Subscription[]} */
      const all = []
      /** @type {string | undefined} */
      let cursor
      for (let page = 0; page < this.#pages; page += 1) {
        const query = { limit: PAGE, cursor, q: this.#text || undefined, sort: this.#sort.value || undefined }
        const answer = await api.get("api/subscriptions", query)
        all.push(...answer.subscriptions)
        cursor = answer.next_cursor
        if (!cursor) break
      }
      if (asked !== this.#asked) return EVERY_MS // another search or order was requested meanwhile
      this.#more.hidden = !cursor
      this.#showAll(this.#isAsked ? all : this.#inPlace(all))
      this.#isAsked = false
      this.#feeds.show(all.some(({ feed }) => feed))
      if (this.#text) setText(this.#state, all.length ? "" : i18n.t("empty.no_match"))
      else {
        this.#head.hidden = all.length < SEARCHED_FROM
        this.#save.hidden = !all.length
        remember(FOLLOWS, all.length > 0)
        setText(this.#state, all.length ? "" : i18n.t("follow.empty"))
      }
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

  /**
   * Show the subscriptions. While the reader aims at a row, all present rows stay where they are.
   * @param {Subscription[]} all
   */
  #inPlace(all) {
    if (!this.#list.matches(":hover, :focus-within")) return all
    const ids = [...this.#rows.keys()]
    const placeOf = (/** @type {Subscription} */ { subscription_id: id }) =>
      this.#rows.has(id) ? ids.indexOf(id) : ids.length
    return all.toSorted((a, b) => placeOf(a) - placeOf(b))
  }

  /** @param {Subscription[]} all */
  #showAll(all) {
    const rows = all.map((each) => {
      const row = this.#rows.get(each.subscription_id)
      row?.show(each)
      return row ?? new SubscriptionRow(this.#view, each, () => this.load())
    })
    const isOther = rows.length !== this.#rows.size ||
      [...this.#rows.values()].some((row, at) => row !== rows[at])
    if (isOther) {
      this.#rows = new Map(rows.map((row) => [row.id, row]))
      this.#view.keepFocus(() => arrange(this.#list, rows.map(({ element }) => element)))
      this.#ticks.clear()
      this.#ticks.add(rows.map(({ tick }) => tick))
    } else if (!this.#bar.isAsking) this.#showBar()
  }

  async #showMore() {
    this.#isAsked = true
    const last = [...this.#rows.keys()].at(-1)
    this.#pages += 1
    await this.load()
    const ids = [...this.#rows.keys()]
    this.focus(ids[ids.indexOf(last ?? "") + 1] ?? "")
  }

  /** @param {string} text */
  #find(text) {
    this.#text = text
    this.#pages = 1
    this.#isAsked = true
    return this.load()
  }

  #reorder() {
    remember(SORT, this.#sort.value)
    this.#isAsked = true
    return this.load()
  }

  async #askProfiles() {
    /** @type {{profiles: Record<string, object>}} */
    // On an error no profile is offered.
    const { profiles } = await this.#view.api.get("api/profiles").catch(() => ({ profiles: {} }))
    this.#profiles = Object.keys(profiles)
  }

  #showBar() {
    const { i18n } = this.#view
    const ticked = this.#ticks.chosen.flatMap((id) => this.#rows.get(id)?.subscription ?? [])
    const acts = ACTS.flatMap(([name, applies, words]) => {
      const ids = ticked.filter(applies).map(({ subscription_id }) => subscription_id)
      if (!ids.length || (name === "profile" && !this.#profiles.length)) return []
      const text = i18n.t(words, { n: ids.length })
      return [{ name, text, press: () => this.#press(name, text, ids) }]
    })
    this.#bar.show(ticked.length, acts)
  }

  /**
   * @param {string} name
   * @param {string} text
   * @param {string[]} ids
   */
  #press(name, text, ids) {
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const n = ids.length
    const back = () => this.#showBar()
    if (name === "delete") {
      const press = () => this.#act("delete", ids)
      return this.#bar.ask({ name, text, press }, t("follow.delete_many", { n }), back)
    }
    if (name !== "profile") return this.#act(name, ids)
    const choice = make(
      "select",
      { "aria-label": t("follow.profile") },
      ...this.#profiles.map((profile) => new Option(profile)),
      new Option(t("follow.no_profile"), ""),
    )
    const press = () => this.#act("profile", ids, { profile: choice.value || null })
    this.#bar.ask(
      { name, text: t("follow.profile_give"), press },
      t("follow.profile_many", { n }),
      back,
      choice,
    )
  }

  /**
   * @param {string} action
   * @param {string[]} ids
   * @param {object} [values]
   */
  async #act(action, ids, values) {
    if (this.#isActing) return
    this.#isActing = true
    const refused = await this.#view.attempt(() => actOnMany(this.#view.api, { action, ...values }, ids))
    this.#isActing = false
    if (!refused) return
    for (const id of ids) {
      const row = this.#rows.get(id)
      if (row) row.tick.checked = refused.has(id)
    }
    this.#showBar()
    await this.load()
    const name = (/** @type {string} */ id) => this.#rows.get(id)?.subscription.name ?? id
    const reasons = [...refused].map(([id, problem]) => `${name(id)}: ${problem.message}`)
    this.#view.complain(some(reasons))
  }

  /**
   * Make a button with which the reader chooses a file.
   * @param {string} key
   * @param {string} accept
   * @param {(file: File) => Promise<void>} take
   */
  #taker(key, accept, take) {
    const input = make("input", { type: "file", accept, className: "unseen" })
    input.addEventListener("change", async () => {
      const [file] = input.files ?? []
      if (file) await this.#view.attempt(() => take(file))
      input.value = "" // so that the same file can be chosen again
    })
    return make("label", { className: "button" }, input, this.#view.i18n.t(key))
  }

  /** @param {File} file */
  async #importOpml(file) {
    const { api, i18n } = this.#view
    const unanswered = i18n.t("problem.no_answer")
    const body = await upload(api, "api/subscriptions.opml", "text/x-opml", file, unanswered)
    await this.load()
    /** @type {{url: string, status: number, problem?: {code?: string}}[]} */
    const results = body.results
    const added = results.filter(({ status }) => status === 201).length
    const isKnown = (/** @type {{problem?: {code?: string}}} */ { problem }) => problem?.code === "subscribed"
    const known = results.filter(isKnown).length
    const reasons = results.filter((each) => each.status !== 201 && !isKnown(each))
      .map(({ url, status, problem = {} }) => `${url}: ${new Problem(status, problem).message}`)
    const counts = /** @type {[string, number][]} */ ([
      ["follow.imported", added],
      ["follow.imported_known", known],
      ["follow.imported_refused", reasons.length],
    ])
    const said = counts.filter(([, n], at) => n || !at).map(([key, n]) => i18n.t(key, { n }))
    setText(this.#imported, said.join(", "))
    this.#view.complain(some(reasons))
  }

  /** @param {File} file  what yt-dlp has fetched, by its `--download-archive` */
  async #importArchive(file) {
    const { api, i18n } = this.#view
    const unanswered = i18n.t("problem.no_answer")
    const { taken, known, unreadable } = await upload(api, "api/media", "text/plain", file, unanswered)
    setText(this.#imported, i18n.t("follow.imported_archive", { taken, known }))
    const lines = unreadable.slice(0, 10).join(", ") + (unreadable.length > 10 ? ", …" : "")
    this.#view.complain(lines && i18n.t("follow.unreadable", { lines }))
  }
}

/**
 * The line with the address of the list of all podcast feeds, shown once there is a feed, and the button that
 * changes all addresses.
 */
class FeedAddresses {
  element = make("div", { className: "follow-feeds", hidden: true })
  #view
  #reload
  #address = make("p", { className: "follow-feed" })
  #ask = make("div", { className: "follow-ask", hidden: true })
  #renew

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
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
      // After an error, the next reading of the list requests it again.
      const { opml } = await this.#view.api.get("api/feeds").catch(() => ({}))
      if (opml) this.#put(opml)
    }
  }

  /** @param {string} opml */
  #put(opml) {
    this.#address.replaceChildren(...addressParts("follow.feeds", opml, this.#view.i18n), this.#renew)
    this.element.hidden = false
  }

  /** Ask before the addresses change, since apps with the old ones will read nothing more. */
  #question() {
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const close = () => {
      this.#ask.hidden = true
      this.#renew.focus()
    }
    const no = button(t("follow.cancel"), close)
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
  #mark = make("span", { className: "mark" })
  #facts = make("span", { className: "follow-facts" })
  #counts = make("span", { className: "follow-counts" })
  #picture = pictureOf()
  /** The letter in place of a picture. */
  #letter = make("span", { className: "follow-letter", "aria-hidden": "true" })
  #cause = make("span", { className: "follow-cause" })
  #open
  #check
  #pause
  tick
  /** @type {Subscription} */
  subscription

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   * @param {Subscription} subscription
   * @param {() => unknown} reload
   */
  constructor(view, subscription, reload) {
    const t = view.i18n.t.bind(view.i18n)
    const id = subscription.subscription_id
    this.#view = view
    this.subscription = subscription
    this.#open = make(
      "button",
      { type: "button", className: "follow-open", onclick: () => view.one(id) },
      make("span", { className: "follow-name" }, this.#name, this.#mark),
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
      () => this.#act(() => enable(view.api, id, !this.subscription.enabled), reload),
    )
    this.tick = make("input", { type: "checkbox", value: id })
    // The whole row is one stop of Tab.
    for (const beside of [this.tick, this.#check, this.#pause]) beside.tabIndex = -1
    const name = make("label", { className: "tick" }, this.tick)
    this.element = make("li", {}, name, this.#picture, this.#letter, this.#open, this.#check, this.#pause)
    this.show(subscription)
  }

  get id() {
    return this.tick.value
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
    if (subscription.revision < this.subscription.revision) return // the answer is older than the last change
    this.subscription = subscription
    const { i18n } = this.#view
    const { name, enabled, stage, error, error_code = "", notice, moved_to: url = "" } = subscription
    this.element.dataset.stage = stage
    showPicture(this.#picture, subscription)
    setText(this.#name, name)
    setText(this.#letter, letterOf(name))
    this.tick.ariaLabel = `${i18n.t("action.select")}: ${name}`
    const { owner } = subscription // sent to admins if people have separate lists
    const whose = owner ? i18n.t("people.of", { name: owner }) : ""
    const status = statusOf(subscription, i18n, heldUntil(subscription))
    setText(this.#facts, [status, whose].filter(Boolean).join(" · "))
    setFacts(this.#counts, countsOf(subscription, i18n).map(unbroken))
    setText(this.#mark, hasNew(subscription, i18n) ? i18n.t("section.new") : "")
    const cause = notice ? i18n.t(NOTICES[notice], { url }) : ""
    setText(this.#cause, stage === "failing" ? error ?? error_code : cause)
    const act = i18n.t(enabled ? "follow.pause" : "follow.resume")
    this.#pause.title = act
    this.#pause.ariaLabel = `${act}: ${name}`
    this.#check.ariaLabel = `${i18n.t("follow.check")}: ${name}`
    this.#pause.querySelector("use")?.setAttribute("href", enabled ? "#i-pause" : "#i-resume")
  }
}

/**
 * Return the first few lines, each on a line of its own.
 * @param {string[]} lines
 */
const some = (lines) => [...lines.slice(0, SAID), ...(lines.length > SAID ? ["…"] : [])].join("\n")
