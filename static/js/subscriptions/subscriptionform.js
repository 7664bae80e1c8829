// @ts-check
// The form of a subscription's settings. It sends only changed settings, so those that it does not know are
// kept.

import { Problem } from "../base/api.js"
import { on, setText } from "../base/dom.js"
import { button, icon, make } from "../base/elements.js"
import { hasLibrary, LAYOUTS } from "../base/library.js"
import { requestOf } from "../intake/options.js"
import { wholeForm } from "../intake/optionsform.js"
import { chosenOf, sentenceOf } from "../intake/optionwords.js"
import { durationWords, inMinutes, KINDS, mergePatch, profileWords } from "./subscriptionwords.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */
/** @typedef {HTMLInputElement | HTMLSelectElement} Field */

const INTERVALS = ["auto", "15m", "30m", "1h", "3h", "6h", "12h", "1d", "7d"]
const AGES = ["30m", "1h", "2h", "6h", "12h", "1d", "2d"]
/** The choice in place of a layout: only the files, at a path that a template gives. */
const BY_TEMPLATE = "template"
const FIELDS_OF_TEMPLATE = "{title} {channel} {date} {year} {month} {day} {id} {playlist} {playlist_index}"
const TYPING_MS = 300
/** Options that concern one download or a list as a whole, and so are not in this form. */
const NOT_OF_ENTRIES = [
  "format",
  "library",
  "clip_start",
  "clip_end",
  "exact",
  "playlist",
  "paused",
  "start_at",
]

export class SubscriptionForm {
  element
  #view
  #subscription
  #done
  #t
  #options
  #form
  /** The words for the chosen options of downloads. */
  #chosen = make("span")
  /**
   * The fields of the form by the server's names.
   * @type {Map<string, {field: Field, problem: HTMLElement}>}
   */
  #fields = new Map()
  /** @type {HTMLInputElement[]} */
  #kinds = []
  /** The values of the form when it was opened. @type {Record<string, any>} */
  #before = {}
  #basics
  /** The settings that each profile sets. @type {Record<string, Record<string, any>>} */
  #profiles = {}
  #library = make("div")
  /** The question whether to drop the changes. */
  #question = make("div", { className: "follow-ask", hidden: true })
  /** An example of a path in the library with these settings. */
  #example = make("p", { className: "lead", role: "status", dir: "auto" })
  /** The number of the last request for an example: the answer to an earlier one is not shown. */
  #asked = 0
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #typing

  /**
   * @param {import("./subscriptionsview.js").SubscriptionsView} view
   * @param {Subscription} subscription
   * @param {() => unknown} done
   */
  constructor(view, subscription, done) {
    this.#view = view
    this.#subscription = subscription
    this.#done = done
    this.#t = view.i18n.t.bind(view.i18n)
    this.#options = new ChosenOptions(chosenOf(subscription.request))
    const t = this.#t
    const { name, title, url, interval, filters, keep, feed, library } = subscription
    // Without a name of its own, the title or the link is shown in its place.
    const own = name === (title ?? url) ? "" : name
    const { form, elements } = wholeForm(this.#options, view.i18n, NOT_OF_ENTRIES)
    this.#form = form
    this.#basics = this.#group(
      "follow.group_when",
      this.#text("name", t("follow.name"), own, { placeholder: title ?? url, maxLength: 200 }),
      this.#text("url", t("follow.url"), url, { dir: "ltr", maxLength: 4096 }),
      this.#choice("interval", t("follow.interval"), interval, this.#durations(INTERVALS, interval)),
    )
    this.element = make(
      "form",
      { className: "follow-form", noValidate: true },
      this.#basics,
      this.#group(
        "follow.group_which",
        this.#text("filters.title", t("follow.title_has"), filters.title, { maxLength: 200 }),
        this.#text("filters.not_title", t("follow.title_has_not"), filters.not_title, { maxLength: 200 }),
        this.#number("filters.min_duration", t("follow.min_duration"), minutesOf(filters.min_duration)),
        this.#number("filters.max_duration", t("follow.max_duration"), minutesOf(filters.max_duration)),
        this.#text("filters.since", t("follow.since"), filters.since, { type: "date" }),
        this.#text("filters.until", t("follow.until"), filters.until, { type: "date" }),
        this.#choice("filters.min_age", t("follow.min_age"), filters.min_age ?? "", [
          ["", t("follow.at_once")],
          ...this.#durations(AGES, filters.min_age),
        ]),
        this.#ticks(filters.kinds),
        this.#tick("filters.members", t("follow.members"), filters.members),
      ),
      this.#group(
        "follow.group_keep",
        this.#number("keep.days", t("follow.keep_days"), keep.days, 1),
        this.#number("keep.last", t("follow.keep_last"), keep.last, 1),
      ),
      this.#group(
        "follow.group_feed",
        this.#text("feed.name", t("follow.feed_name"), feed?.name, { maxLength: 64, dir: "ltr" }),
        make("p", { className: "lead" }, t("follow.feed_about")),
      ),
      this.#library,
      make(
        "details",
        {},
        make("summary", { "aria-label": t("follow.options") }, icon("chevron"), " ", this.#chosen),
        ...elements,
      ),
      make(
        "p",
        { className: "sheet-acts" },
        button(t("follow.cancel"), done),
        make("button", { className: "primary" }, t("follow.save")),
      ),
      this.#question,
    )
    this.element.addEventListener("submit", (event) => {
      event.preventDefault()
      this.#save()
    })
    if (library) this.#offerLibrary()
    const say = () => setText(this.#chosen, sentenceOf(this.#options.chosen, view.i18n))
    on(this.#options, "change", say)
    say()
    this.#before = this.#values
  }

  /** Focus the form, and ask the service for its profiles and other choices. */
  async begin() {
    const { api } = this.#view
    this.#form.ask(api)
    const [isOffered, { profiles }] = await Promise.all([
      hasLibrary(api),
      // Without profiles, the form does not offer them.
      api.get("api/profiles").catch(() => ({ profiles: {} })),
    ])
    if (isOffered && !this.#fields.has("library.layout")) this.#offerLibrary()
    this.#offerProfiles(profiles)
  }

  /** @param {Record<string, Record<string, any>>} profiles  what each of them gives */
  #offerProfiles(profiles) {
    const { profile = "" } = this.#subscription
    const names = Object.keys(profiles)
    if (profile && !names.includes(profile)) names.push(profile) // the service may have deleted the profile
    if (!names.length) return
    this.#profiles = profiles
    const about = make("p", { className: "lead", role: "status" })
    const choices = [["", this.#t("follow.no_profile")], ...names.map((name) => [name, name])]
    const chosen = this.#choice(
      "profile",
      this.#t("follow.profile"),
      profile,
      /** @type {[string, string][]} */ (choices),
    )
    const say = () => {
      const name = this.#field("profile")?.value ?? ""
      const given = profiles[name] ? profileWords(profiles[name], this.#view.i18n) : ""
      const key = name === profile ? "follow.profile_gives" : "follow.profile_replaces"
      setText(about, given && this.#t(key, { given }))
    }
    chosen.addEventListener("change", say)
    say()
    this.#basics.lastElementChild?.append(chosen)
    this.#basics.append(about)
  }

  /** Return whether no change would be lost; otherwise ask the reader. */
  mayLeave() {
    if (!Object.keys(mergePatch(this.#before, this.#values)).length) return true
    const { activeElement } = document
    const stay = button(this.#t("follow.go_on_editing"), () => {
      this.#question.hidden = true
      if (activeElement instanceof HTMLElement) activeElement.focus()
    })
    this.#question.replaceChildren(
      make("p", { role: "status" }, this.#t("follow.discard_ask")),
      button(this.#t("follow.discard"), this.#done),
      stay,
    )
    this.#question.hidden = false
    stay.focus()
    return false
  }

  #offerLibrary() {
    const t = this.#t
    const { library } = this.#subscription
    // Interpreted as the service does it.
    const form = library && (library.layout ?? (library.name ? BY_TEMPLATE : "shows"))
    const group = this.#group(
      "follow.group_library",
      this.#choice("library.layout", t("follow.layout"), form ?? "", [
        ["", t("follow.layout_none")],
        ...Object.entries(LAYOUTS).map(([layout, key]) => /** @type {[string, string]} */ ([layout, t(key)])),
        [BY_TEMPLATE, t("follow.layout_template")],
      ]),
      this.#text("library.folder", t("follow.folder"), library?.folder),
      this.#text("library.name", t("follow.template"), library?.name, {
        maxLength: 200,
        dir: "ltr",
        placeholder: "{channel}/{date} {title}",
      }),
    )
    group.append(
      make("p", { className: "lead" }, t("follow.template_about", { fields: FIELDS_OF_TEMPLATE })),
      this.#example,
    )
    group.addEventListener("input", () => {
      clearTimeout(this.#typing)
      this.#typing = setTimeout(() => this.#showExample(), TYPING_MS)
    })
    this.#library.replaceChildren(group)
    this.#showExample()
  }

  /** Return the chosen settings of the library; undefined if no files go there. */
  get #placing() {
    const text = (/** @type {string} */ name) => this.#field(name)?.value.trim() || undefined
    const { library } = this.#subscription
    if (!this.#fields.has("library.layout")) return library
    const [layout, folder, name] = ["library.layout", "library.folder", "library.name"].map(text)
    if (!layout) return undefined
    return { ...library, layout: layout === BY_TEMPLATE ? undefined : layout, folder, name }
  }

  /** Show the path that a film would have, or the fault in the template, both as the service says. */
  async #showExample() {
    const asked = ++this.#asked
    const library = this.#placing
    let said = ""
    try {
      const told = library && await this.#view.api.send("POST", "api/library/preview", library)
      if (told) said = this.#t("follow.example", { path: told.samples[0].paths[0] })
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      said = error.message
    }
    if (asked === this.#asked) setText(this.#example, said)
  }

  /** Return the settings in the server's form, without empty ones. */
  get #values() {
    const { filters, keep, feed, profile } = this.#subscription
    const text = (/** @type {string} */ name) => this.#field(name)?.value.trim() || undefined
    const number = (/** @type {string} */ name, factor = 1) => {
      const value = text(name)
      return value === undefined ? undefined : Math.round(Number(value) * factor)
    }
    const kinds = this.#kinds.filter(({ checked }) => checked).map(({ value }) => value)
    const members = this.#field("filters.members")
    const name = text("feed.name")
    return plain({
      name: text("name"),
      url: text("url"),
      interval: text("interval"),
      filters: {
        ...filters,
        title: text("filters.title"),
        not_title: text("filters.not_title"),
        min_duration: number("filters.min_duration", 60),
        max_duration: number("filters.max_duration", 60),
        since: text("filters.since"),
        until: text("filters.until"),
        min_age: text("filters.min_age"),
        kinds: kinds.length === this.#kinds.length ? undefined : kinds,
        members: members instanceof HTMLInputElement && members.checked,
      },
      keep: { ...keep, days: number("keep.days"), last: number("keep.last") },
      feed: name ? { ...(feed?.name && { name: feed.name }), name } : undefined,
      profile: this.#fields.has("profile") ? text("profile") : profile,
      library: this.#placing,
      request: requestOf(this.#options.chosen),
    })
  }

  async #save() {
    for (const { field, problem } of this.#fields.values()) {
      setText(problem, "")
      field.removeAttribute("aria-invalid")
    }
    const isNameless = this.#field("library.layout")?.value === BY_TEMPLATE && !this.#placing?.name
    if (isNameless) { // without a template, the service would take the usual layout
      this.#complain("library.name", this.#t("follow.template_missing"))
      return this.#field("library.name")?.focus()
    }
    const patch = mergePatch(this.#before, this.#values)
    if (!Object.keys(patch).length) return this.#done()
    // A newly chosen profile replaces earlier settings; settings that were changed together with it stay.
    for (const name of Object.keys(this.#profiles[patch.profile] ?? {})) patch[name] ??= null
    try {
      await this.#view.api.send("PATCH", `api/subscriptions/${this.#subscription.subscription_id}`, patch)
      this.#done()
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      const told = (error.body.errors ?? []).filter(({ field, message }) => this.#complain(field, message))
      const isWhole = told.length > 0 && told.length === error.body.errors?.length
      this.#view.complain(isWhole ? "" : error.message)
      /** @type {HTMLElement | null} */
      const first = this.element.querySelector("[aria-invalid]")
      first?.focus()
    }
  }

  /**
   * Show `message` at a field; return false if there is no such field.
   * @param {string} name
   * @param {string} message
   */
  #complain(name, message) {
    const part = this.#fields.get(name) ?? this.#fields.get(name.split(".").slice(0, 2).join("."))
    if (!part) return false
    setText(part.problem, message)
    part.field.setAttribute("aria-invalid", "true")
    return true
  }

  /** @param {string} name */
  #field(name) {
    return this.#fields.get(name)?.field
  }

  /**
   * @param {string} key
   * @param {...HTMLElement} fields
   */
  #group(key, ...fields) {
    return make(
      "fieldset",
      {},
      make("legend", {}, this.#t(key)),
      make("div", { className: "follow-fields" }, ...fields),
    )
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {Field} field
   */
  #labelled(name, label, field) {
    const id = `follow-${name.replace(".", "-")}`
    const problem = make("span", { className: "problem", id: `${id}-problem` })
    field.setAttribute("aria-describedby", problem.id)
    this.#fields.set(name, { field, problem })
    return make(
      "div",
      { className: "field" },
      make("label", { htmlFor: id }, label),
      Object.assign(field, { id }),
      problem,
    )
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {string} [value]
   * @param {Record<string, any>} [properties]
   */
  #text(name, label, value = "", properties = {}) {
    return this.#labelled(
      name,
      label,
      make("input", { type: "text", autocomplete: "off", ...properties, value }),
    )
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {number | undefined} value
   * @param {number | "any"} [step]
   */
  #number(name, label, value, step = "any") {
    const properties = {
      type: "number",
      min: step === 1 ? "1" : "0",
      step: String(step),
      inputMode: "decimal",
    }
    return this.#labelled(name, label, make("input", { ...properties, value: String(value ?? "") }))
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {string} value
   * @param {[value: string, label: string][]} choices
   */
  #choice(name, label, value, choices) {
    const select = make("select", {}, ...choices.map(([value, label]) => new Option(label, value)))
    select.value = value
    return this.#labelled(name, label, select)
  }

  /**
   * @param {string[]} usual
   * @param {string} [other]  that was chosen elsewhere
   * @returns {[string, string][]}
   */
  #durations(usual, other) {
    const all = !other || usual.includes(other) ? usual : [other, ...usual]
    const { language } = this.#view.i18n
    return all.map((
      duration,
    ) => [duration, duration === "auto" ? this.#t("follow.auto") : durationWords(duration, language)])
  }

  /**
   * @param {string} name
   * @param {string} label
   * @param {boolean} [checked]
   */
  #tick(name, label, checked = false) {
    const field = make("input", { type: "checkbox", checked })
    const problem = make("span", { className: "problem" })
    this.#fields.set(name, { field, problem })
    return make("label", { className: "tick" }, field, " ", make("span", {}, label), problem)
  }

  /** @param {string[]} [kinds]  none: all */
  #ticks(kinds) {
    const labels = Object.entries(KINDS).map(([value, key]) => {
      const field = make("input", { type: "checkbox", value, checked: kinds?.includes(value) ?? true })
      this.#kinds.push(field)
      return make("label", { className: "tick" }, field, " ", make("span", {}, this.#t(key)))
    })
    const problem = make("span", { className: "problem" })
    this.#fields.set("filters.kinds", { field: this.#kinds[0], problem })
    return make(
      "div",
      { className: "ticks", role: "group", "aria-label": this.#t("follow.kinds") },
      ...labels,
      problem,
    )
  }
}

/** The chosen options in a form that is not the one at the box. */
class ChosenOptions extends EventTarget {
  preset = ""
  lasting = {}
  /** @type {Record<string, Record<string, any>>} */
  presets = {}
  /** @type {Record<string, [value: string, label: string][]>} */
  offers = { format: [], cookies: [] }
  known = {}
  canMarkClip = false

  /** @param {import("../intake/options.js").Chosen} chosen */
  constructor(chosen) {
    super()
    this.chosen = chosen
    if (chosen.cookies) this.offers.cookies = [[chosen.cookies, chosen.cookies]]
  }

  /**
   * @param {string} name
   * @param {any} value
   */
  choose(name, value) {
    this.chosen[name] = value
    this.dispatchEvent(new Event("change"))
  }

  /** Do nothing: this form has no presets, and shows the options that a preset has set. */
  choosePreset() {}

  offerPresets() {}

  fill() {}

  /**
   * @param {string} name
   * @param {[value: string, label: string][]} choices
   */
  offer(name, choices) {
    const chosen = this.chosen[name]
    const isThere = !chosen || choices.some(([value]) => value === chosen)
    this.offers[name] = isThere ? choices : [[chosen, chosen], ...choices]
    this.dispatchEvent(new Event("change"))
  }
}

/** @param {number | undefined} seconds */
const minutesOf = (seconds) => seconds === undefined ? undefined : inMinutes(seconds)

/**
 * Return an object without its undefined values.
 * @param {Record<string, any>} values
 */
const plain = (values) => JSON.parse(JSON.stringify(values))
