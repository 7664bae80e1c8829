// @ts-check
// The entries of a subscription, page by page and by state, which the reader ticks and acts on. Rows change
// in place; new entries wait for a click, so that nothing moves under the pointer.

import { Problem } from "../base/api.js"
import { setText } from "../base/dom.js"
import { addSymbol, button, iconButton, make, moveBetween, searchField } from "../base/elements.js"
import { dayOf, Ticks } from "../intake/entries.js"
import { placeOf } from "../row/facts.js"
import { kindsOf, saveLink } from "../row/files.js"
import { actOnAll, actOnKeys, repeat } from "./subscriptionrequests.js"
import { ACTIONS_OF_ITEMS, STATES, stateWords } from "./subscriptionwords.js"
import { TickedBar } from "./tickedbar.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("./subscriptionwords.js").Item} Item */
/** @typedef {import("./subscriptionwords.js").State} State */
/** @typedef {import("./subscriptionwords.js").Counts} Counts */
/** @typedef {{items: Item[], next_cursor?: string}} Page */

const PAGE = 200
/** The most pages that are read again after a change. */
const READ_AGAIN = 5
/**
 * ms between two reads while shown entries are on their way into the library, which does not change the
 * subscription itself.
 */
const PLACED_MS = 3_000
/** @type {Record<string, string>} */
const WORDS = {
  fetch: "follow.fetch_n",
  skip: "follow.skip_n",
  pin: "follow.pin_n",
  unpin: "follow.unpin_n",
  place: "follow.place_n",
  forget: "follow.forget_n",
  delete: "selected.delete",
}

export class ItemList {
  element
  #view
  #path
  #id
  #counts = /** @type {Counts} */ ({})
  /** Whether fetched entries go into the library. */
  #isPlaced = false
  #list = make("ul", { className: "follow-items" })
  #filter
  #search
  #toggle
  #due
  #more
  #state = make("p", { className: "lead", role: "status" })
  #bar
  #head
  /** The text of the search. */
  #text = ""
  #ticks
  /** @type {Map<string, ItemRow>} */
  #rows = new Map()
  /** @type {string | undefined} */
  #cursor
  /** Whether the ticks mean all entries in the state, also those that are not loaded. */
  #isWhole = false
  #isActing = false
  /** Aborts the requests when another state is to be shown. */
  #request = new AbortController()
  /**
   * Aborts a reading of rows that a later reading, or an action, has overtaken.
   * @type {AbortController | undefined}
   */
  #reading
  /** @type {Promise<void> | undefined} */
  #loading
  #watcher
  #endLooking

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   * @param {string} id
   */
  constructor(view, id) {
    this.#view = view
    this.#id = id
    this.#path = `api/subscriptions/${id}/items`
    const t = view.i18n.t.bind(view.i18n)
    this.#filter = make("select", { "aria-label": t("follow.show"), onchange: () => this.#refill() })
    this.#toggle = button(t("entries.toggle"), () => this.#toggleAll())
    this.#due = button("", () => this.#refill(), { className: "follow-due", hidden: true })
    this.#more = button(t("entries.more"), () => this.#loadMore(), { hidden: true })
    this.#bar = new TickedBar(view, t("follow.selected"))
    this.#search = searchField(t("entries.search"), (text) => {
      this.#text = text
      return this.#refill()
    })
    this.#head = make(
      "div",
      { className: "follow-head" },
      this.#search,
      this.#filter,
      this.#due,
      this.#toggle,
    )
    this.#head.hidden = true
    this.element = make(
      "section",
      { "aria-label": t("follow.entries") },
      this.#head,
      this.#state,
      this.#list,
      this.#more,
      this.#bar.element,
    )
    this.#ticks = new Ticks(this.#list, () => this.#chosen())
    this.#list.addEventListener("keydown", (event) => moveBetween(this.#list, "input", event))
    this.#watcher = new IntersectionObserver(
      ([{ isIntersecting }]) => isIntersecting && this.#load(),
      { rootMargin: "600px" },
    )
    this.#watcher.observe(this.#more)
    this.#endLooking = repeat(async () => {
      const isWaiting = [...this.#rows.values()].some(({ item }) => item.library?.state === "waiting")
      if (isWaiting) await this.#readAgain()
      return PLACED_MS
    })
  }

  end() {
    this.#endLooking()
    this.#request.abort()
    this.#watcher.disconnect()
  }

  /**
   * @param {Counts} counts  as they are now
   * @param {boolean} isPlaced  what is fetched goes into the library
   */
  changed(counts, isPlaced) {
    this.#counts = counts
    this.#isPlaced = isPlaced
    this.#offer()
    this.#head.hidden = !Object.values(counts).some(Boolean)
    if (this.#rows.size) this.#readAgain()
    else this.#refill() // a search in the rows so far may have found nothing: load more
  }

  /**
   * Show the entries in a state, for the reader to tick some of them.
   * @param {State} state
   */
  async choose(state) {
    this.#filter.value = state
    this.#search.value = this.#text = ""
    await this.#refill()
    const first = this.#list.querySelector("input")
    if (first) first.focus()
    else this.#filter.focus()
    first?.closest("li")?.scrollIntoView({ block: "center" })
  }

  /** @param {import("./subscriptionrequests.js").Outcome} outcome */
  acted({ items }) {
    for (const item of items) this.#rows.get(item.key)?.show(item)
    this.#alignRows()
    this.#chosen()
    if (this.#reading) this.#readAgain() // the answer may be older than the action
  }

  /** Give all rows the column of buttons for the download if one row has it. */
  #alignRows() {
    // Not by `:has()` in the style sheet: each tick would restyle all rows.
    this.#list.toggleAttribute("data-acts", [...this.#rows.values()].some(({ hasActs }) => hasActs))
  }

  get #shownState() {
    return /** @type {State | ""} */ (this.#filter.value)
  }

  #offer() {
    const t = this.#view.i18n.t.bind(this.#view.i18n)
    const { format } = this.#view.i18n
    const chosen = this.#filter.value
    const sum = Object.values(this.#counts).reduce((sum, n) => sum + n, 0)
    const label = (/** @type {string} */ words, /** @type {number} */ n) => `${words} (${format.count(n)})`
    const states = Object.entries(STATES).filter(([state]) =>
      this.#counts[/** @type {State} */ (state)] || state === chosen
    )
    this.#filter.replaceChildren(
      new Option(label(t("filter.all"), sum), ""),
      ...states.map(([state, key]) =>
        new Option(label(t(key), this.#counts[/** @type {State} */ (state)] ?? 0), state)
      ),
    )
    this.#filter.value = chosen
  }

  /** Show the list from its beginning. */
  async #refill() {
    this.#request.abort()
    this.#request = new AbortController()
    this.#loading = undefined
    this.#rows.clear()
    this.#ticks.clear()
    this.#list.replaceChildren()
    this.#cursor = undefined
    this.#due.hidden = true
    this.#more.hidden = true
    this.#chosen()
    await this.#load()
  }

  async #loadMore() {
    const last = this.#list.lastElementChild
    await this.#load()
    const next = last?.nextElementSibling?.querySelector("input")
    next?.focus()
  }

  /** Load the next page, once at a time. */
  #load() {
    this.#loading ??= this.#loadPage(this.#request.signal).finally(() => (this.#loading = undefined))
    return this.#loading
  }

  /** @param {AbortSignal} signal */
  async #loadPage(signal) {
    const { i18n } = this.#view
    try {
      const page = await this.#page(this.#cursor, signal)
      const rows = page.items.filter(({ key }) => !this.#rows.has(key)).map((item) =>
        new ItemRow(item, this.#view)
      )
      for (const row of rows) this.#rows.set(row.item.key, row)
      this.#list.append(...rows.map(({ element }) => element))
      this.#alignRows()
      this.#ticks.add(rows.map(({ tick }) => tick))
      this.#cursor = page.next_cursor
      this.#more.hidden = !this.#cursor
      const isEmpty = !this.#rows.size && (this.#shownState || this.#text)
      setText(this.#state, isEmpty ? i18n.t("empty.no_match") : "")
      // The button may still be in sight; the observer does not tell of that.
      this.#watcher.unobserve(this.#more)
      this.#watcher.observe(this.#more)
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof Problem)) throw error
      setText(this.#state, error.message)
    }
  }

  /**
   * @param {string | undefined} cursor
   * @param {AbortSignal} signal
   * @returns {Promise<Page>}
   */
  #page(cursor, signal) {
    const query = {
      limit: PAGE,
      cursor,
      state: this.#shownState || undefined,
      q: this.#text || undefined,
    }
    return this.#view.api.get(this.#path, query, { signal })
  }

  /** Show a change in the present rows, and say how many entries are new. */
  async #readAgain() {
    this.#reading?.abort()
    const reading = this.#reading = new AbortController()
    const signal = AbortSignal.any([this.#request.signal, reading.signal])
    /** @type {string | undefined} */
    let cursor
    let fresh = 0
    const pages = Math.min(READ_AGAIN, Math.ceil(this.#rows.size / PAGE))
    try {
      for (let page = 0; page < pages; page += 1) {
        const { items, next_cursor } = await this.#page(cursor, signal)
        for (const item of items) this.#rows.get(item.key)?.show(item)
        // Entries after the last row belong to the next page.
        const last = items.findLastIndex(({ key }) => this.#rows.has(key))
        fresh += items.slice(0, last + 1).filter(({ key }) => !this.#rows.has(key)).length
        cursor = next_cursor
        if (!cursor) break
      }
    } catch (error) {
      if (signal.aborted) return
      if (!(error instanceof Problem)) throw error
      return // the next change reads the rows again
    } finally {
      if (reading === this.#reading) this.#reading = undefined
    }
    this.#alignRows()
    this.#due.hidden = !fresh
    setText(this.#due, this.#view.i18n.t("list.due", { n: fresh }))
    if (!this.#bar.isAsking) this.#showBar()
  }

  #toggleAll() {
    this.#ticks.toggleAll()
    const areAll = this.#ticks.chosen.length === this.#ticks.count
    this.#isWhole = areAll && Boolean(this.#cursor && this.#shownState) && !this.#text
    this.#showBar()
  }

  /** Take a change of the ticks: they no longer mean entries that are not loaded. */
  #chosen() {
    this.#isWhole = false
    this.#showBar()
  }

  get #ticked() {
    return this.#ticks.chosen.flatMap((key) => this.#rows.get(key) ?? [])
  }

  #showBar() {
    const { i18n } = this.#view
    const state = this.#shownState
    const whole = this.#isWhole && state ? (this.#counts[state] ?? 0) : 0
    const items = this.#ticked.map(({ item }) => item)
    const acts = Object.keys(ACTIONS_OF_ITEMS).flatMap((name) => {
      const n = actedOn(name, items).length
      const isUnwanted = name === "unpin" && n < items.length // "unpin" beside "pin" would not be understood
      if (!n || isUnwanted || (whole && ["pin", "unpin", "place"].includes(name))) return []
      if (name === "place" && !this.#isPlaced) return []
      const all = whole && n === items.length ? whole : n
      const text = i18n.t(WORDS[name], { n: all })
      return [{ name, text, press: () => this.#press(name, text, all) }]
    })
    this.#bar.show(whole || items.length, acts)
  }

  /**
   * Do the action; before a deletion ask, since deleted files do not come back.
   * @param {string} name
   * @param {string} text
   * @param {number} n
   */
  #press(name, text, n) {
    if (name !== "delete") return this.#act(name)
    const press = () => this.#act(name)
    const question = this.#view.i18n.t("follow.delete_items", { n })
    this.#bar.ask({ name, text, press }, question, () => this.#showBar())
  }

  /** @param {string} action */
  async #act(action) {
    if (this.#isActing) return
    this.#isActing = true
    this.#bar.element.ariaBusy = "true"
    const { api } = this.#view
    const state = this.#shownState
    const keys = actedOn(action, this.#ticked.map(({ item }) => item)).map(({ key }) => key)
    const isWhole = this.#isWhole && state
    const outcome = await this.#view.attempt(() =>
      isWhole
        ? actOnAll(api, this.#id, action, state, this.#counts[state] ?? 0)
        : actOnKeys(api, this.#id, action, keys)
    ).finally(() => {
      this.#isActing = false
      this.#bar.element.ariaBusy = "false"
    })
    if (!outcome) return
    const { items, problem } = outcome
    const after = this.#heir(keys)
    for (const item of items) {
      const row = this.#rows.get(item.key)
      if (row) row.tick.checked = false
      if (action === "forget") this.#drop(item.key)
    }
    if (action === "forget") {
      this.#ticks.clear()
      this.#ticks.add([...this.#rows.values()].map(({ tick }) => tick))
      this.#alignRows()
    } else this.acted(outcome)
    this.#chosen()
    if (problem) this.#view.complain(problem.message)
    else after?.focus({ preventScroll: true })
  }

  /** @param {string} key */
  #drop(key) {
    this.#rows.get(key)?.element.remove()
    this.#rows.delete(key)
  }

  /**
   * Move the focus after an action: to the tick of the first of these items, or to the one after it.
   * @param {string[]} keys
   */
  #heir(keys) {
    const rows = [...this.#rows.values()]
    const at = rows.findIndex(({ item }) => item.key === keys[0])
    return rows.slice(at).find(({ item }) => !keys.includes(item.key))?.tick ?? rows[at - 1]?.tick
  }
}

/**
 * Return the ticked items to which an action applies. *Fetch* leaves fetched items out, unless all are
 * fetched.
 * @param {string} action
 * @param {Item[]} items
 */
function actedOn(action, items) {
  const possible = items.filter(ACTIONS_OF_ITEMS[action])
  const others = action === "fetch" ? possible.filter(({ state }) => state !== "fetched") : []
  return others.length ? others : possible
}

/** Matches a visible character: some titles have none. */
const VISIBLE = /[^\s\p{C}]/u

class ItemRow {
  element
  tick
  /** @type {Item} */
  item
  #name = make("span", { className: "name", dir: "auto" })
  #facts = make("span", { className: "facts" })
  #state = make("span", { className: "state" })
  #path = make("span", { className: "path", dir: "ltr" })
  /** The buttons for the download of an entry. */
  #acts = make("span", { className: "item-acts", hidden: true })
  #view
  #i18n

  /**
   * @param {Item} item
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   */
  constructor(item, view) {
    this.item = item
    this.#view = view
    this.#i18n = view.i18n
    this.tick = make("input", { type: "checkbox", value: item.key })
    this.element = make(
      "li",
      {},
      make("label", { className: "tick" }, this.tick, this.#name),
      this.#facts,
      this.#state,
      this.#acts,
      this.#path,
    )
    this.show(item)
  }

  get hasActs() {
    return !this.#acts.hidden
  }

  #offerActs() {
    const { play, leadTo } = this.#view
    /** @type {[icon: string, words: string, act: (task: Task) => unknown][]} */
    const acts = [
      ["play", "action.play", play],
      ["save", "action.save", (task) => saveLink(task, kindsOf(task)[0], this.#i18n).click()],
      ["row", "follow.to_row", leadTo],
    ]
    addSymbol("row", "M4 6h16M4 12h8M4 18h8M15 11l4 4-4 4")
    this.#acts.replaceChildren(...acts.map(([icon, words, act]) => {
      const made = iconButton(icon, this.#i18n.t(words), () => this.#withTask(act))
      made.tabIndex = -1 // the whole row is one stop of Tab
      return made
    }))
  }

  /** @param {(task: Task) => unknown} act */
  async #withTask(act) {
    const task = await this.#view.attempt(() => this.#view.api.get(`api/status/${this.item.task_id}`))
    if (task) await act(task)
  }

  /** @param {Item} item */
  show(item) {
    this.item = item
    const { title, url, duration, pinned, library, paths = [], state, task_id } = item
    this.element.dataset.state = state
    setText(this.#name, title && VISIBLE.test(title) ? title : url)
    const facts = [dayOf(item, this.#i18n.language), duration ? this.#i18n.format.clock(duration) : ""]
    setText(this.#facts, facts.filter(Boolean).join(" · "))
    const words = [stateWords(item, this.#i18n), pinned ? this.#i18n.t("follow.pinned") : ""]
    setText(this.#state, words.filter(Boolean).join(" · "))
    this.#acts.hidden = state !== "fetched" || !task_id
    if (!this.#acts.hidden && !this.#acts.firstChild) this.#offerActs()
    setText(this.#path, library ? placeOf(library, this.#i18n) : (paths[0] ?? ""))
  }
}
