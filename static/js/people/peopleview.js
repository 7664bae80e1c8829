// @ts-check
// The people of the service, for admins: the list of all, or one person with role, limits, password and
// tokens.

import { button, make, moveBetween, searchField } from "../base/elements.js"
import { setText } from "../base/dom.js"
import { Room } from "../base/room.js"
import { newPassword, ROLES } from "./account.js"
import { LIMITS } from "./limits.js"
import { ask, TokenList } from "./tokens.js"

/** @typedef {import("./people.js").Person} Person */
/** @typedef {import("./people.js").Role} Role */

/** How many people are shown at once. */
const PAGE = 100
/** With fewer people there is no search field. */
const SEARCHED_FROM = 6
/** The unit in which limits of bytes are typed. */
const GIGABYTE = 1e9
/** The choices for the belongings of a removed person. @type {Record<string, string>} */
const REMAINS = { keep: "people.keep", give: "people.give", delete: "people.delete" }

/** @param {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n, changed: () => unknown}} parts */
export async function openPeople(parts) {
  const room = new Room(parts, "people", "people.back")
  room.show()
  await new PeopleView(room, parts.changed).list()
}

class PeopleView {
  #room
  #changed
  /** @type {Person[]} */
  #people = []

  /**
   * @param {Room} room
   * @param {() => unknown} changed  somebody was added or removed
   */
  constructor(room, changed) {
    this.#room = room
    this.#changed = changed
  }

  /** @param {string} [focused]  who has been looked at */
  async list(focused) {
    const { i18n } = this.#room
    const t = i18n.t.bind(i18n)
    const list = make("ul", { className: "people-list" })
    const none = make("p", { className: "lead", role: "status" })
    let [text, shown] = ["", PAGE]
    const more = button(t("entries.more"), () => {
      shown += PAGE
      show()
    })
    const show = () => {
      const found = this.#people.filter(({ name }) => name.includes(text))
      list.replaceChildren(...found.slice(0, shown).map((person) => this.#row(person)))
      more.hidden = found.length <= shown
      setText(none, found.length ? "" : t("empty.no_match"))
    }
    const search = searchField(t("people.search"), (wanted) => {
      text = wanted.toLowerCase()
      shown = PAGE
      show()
    })
    const add = button(
      t("people.add"),
      () => ask(head, this.#room, this.#newPerson(), t("people.add"), () => this.#add()),
    )
    const head = make("p", { className: "fields" }, search, add)
    list.addEventListener("keydown", (event) => moveBetween(list, "button", event))
    this.#room.put(t("people.title"), make("div", {}, head, none, list, more), null)
    await this.#room.attempt(async () => {
      this.#people = (await this.#room.api.get("api/people")).people
      search.hidden = this.#people.length < SEARCHED_FROM
      shown = Math.max(PAGE, this.#people.findIndex(({ name }) => name === focused) + 1)
      show()
      /** @type {HTMLElement | null} */
      const row = focused ? list.querySelector(`[data-name="${CSS.escape(focused)}"]`) : null
      row?.focus()
    })
  }

  /** @param {Person} person */
  #row({ name, role, is_leaving }) {
    const { i18n } = this.#room
    const about = i18n.t(is_leaving ? "people.leaving" : ROLES[role])
    return make(
      "li",
      {},
      make(
        "button",
        {
          type: "button",
          className: "person",
          disabled: Boolean(is_leaving),
          "data-name": name,
          onclick: () => this.one(name),
        },
        make("bdi", {}, name),
        make("span", {}, about),
      ),
    )
  }

  #newPerson() {
    const t = this.#room.i18n.t.bind(this.#room.i18n)
    const name = make("input", {
      name: "name",
      required: true,
      maxLength: 64,
      pattern: "[a-z0-9._\\-]+",
      autocomplete: "off",
      autocapitalize: "none",
      spellcheck: false,
      title: t("people.name_about"),
    })
    return [
      make(
        "p",
        { className: "fields" },
        make("label", { className: "field" }, make("span", {}, t("session.name")), name),
        make("label", { className: "field" }, make("span", {}, t("people.role")), this.#roles("user")),
      ),
      make("p", { className: "lead" }, t("people.name_about")),
    ]
  }

  async #add() {
    const form = /** @type {HTMLFormElement} */ (document.querySelector("#people .asked"))
    const { name, role } = Object.fromEntries(new FormData(form))
    /** @type {Person | undefined} */
    const person = await this.#room.attempt(() => this.#room.api.send("POST", "api/people", { name, role }))
    if (!person) return false
    this.#changed()
    await this.one(person.name, person.token)
    return true
  }

  /** @param {Role} role  that is chosen */
  #roles(role) {
    const options = Object.entries(ROLES).map(([value, words]) => new Option(this.#room.i18n.t(words), value))
    const choice = make("select", { name: "role" }, ...options)
    choice.value = role
    return choice
  }

  /**
   * @param {string} name
   * @param {string} [token]  that was made just now
   */
  async one(name, token) {
    const room = this.#room
    const t = room.i18n.t.bind(room.i18n)
    const path = `api/people/${encodeURIComponent(name)}`
    const body = make("div")
    room.put(name, body, () => this.list(name))
    await room.attempt(async () => {
      /** @type {Person} */
      const person = await room.api.get(path)
      const change = (/** @type {object} */ patch) => room.attempt(() => room.api.send("PATCH", path, patch))
      const role = this.#roles(person.role)
      role.addEventListener("change", async () => {
        const changed = await change({ role: role.value })
        // The message of the service explains why the role was not changed.
        if (!changed) role.value = person.role
      })
      const tokens = new TokenList(room, `${path}/tokens`)
      if (token) tokens.show(token)
      const adopt = button(
        t("people.adopt"),
        () =>
          ask(
            acts,
            room,
            [t("people.adopt_ask", { name })],
            t("people.adopt_now"),
            () => room.isDone(() => room.api.send("POST", `${path}/adopt`)),
          ),
      )
      const remove = button(t("people.remove"), () => {
        const what = this.#remains(name)
        ask(
          acts,
          room,
          [make("p", {}, t("people.remove_ask", { name })), what],
          t("people.remove"),
          () => this.#remove(path, new FormData(/** @type {HTMLFormElement} */ (what.closest("form")))),
        )
      })
      const acts = make("p", { className: "fields" }, adopt, remove)
      body.append(
        make("label", { className: "field line" }, make("span", {}, t("people.role")), role),
        tokens.element,
        this.#limits(person, change),
        this.#password(person, change),
        make("div", { className: "part" }, acts),
      )
      await tokens.load()
    })
    if (token) body.querySelector("input")?.focus()
  }

  /**
   * @param {string} path
   * @param {FormData} chosen  what becomes of what is theirs
   */
  async #remove(path, chosen) {
    const { tasks, to } = Object.fromEntries(chosen)
    const query = tasks === "give" ? `tasks=give&to=${to}` : `tasks=${tasks}`
    if (!await this.#room.isDone(() => this.#room.api.send("DELETE", `${path}?${query}`))) return false
    this.#changed()
    await this.list()
    return true
  }

  /**
   * @param {Person} person
   * @param {(patch: object) => Promise<unknown>} change
   */
  #limits({ own_limits }, change) {
    const t = this.#room.i18n.t.bind(this.#room.i18n)
    const said = make("p", { className: "lead", role: "status" })
    const fields = Object.entries(LIMITS).map(([name, { words, isBytes }]) => {
      const own = own_limits[name]
      const value = own === undefined ? "" : String(isBytes ? own / GIGABYTE : own)
      const isWhole = !isBytes && name !== "retention_hours"
      const field = make("input", {
        name,
        type: "number",
        min: "0",
        step: isWhole ? "1" : "any",
        defaultValue: value,
      })
      field.placeholder = t("limit.as_all")
      const unit = isBytes ? "limit.in_gb" : isWhole ? "" : "limit.in_hours"
      const label = unit ? t(unit, { limit: t(words) }) : t(words)
      return make("label", { className: "field" }, make("span", {}, label), field)
    })
    const form = make("form", { className: "limits" }, ...fields, make("button", {}, t("follow.save")))
    form.addEventListener("submit", async (event) => {
      event.preventDefault()
      const limits = Object.fromEntries(
        [...new FormData(form)].map(([name, value]) => {
          const amount = LIMITS[name].isBytes ? Math.round(Number(value) * GIGABYTE) : Number(value)
          return [name, value === "" ? null : amount]
        }),
      )
      setText(said, await change({ limits }) ? t("people.saved") : "")
    })
    return make(
      "div",
      { className: "part" },
      make("h3", {}, t("limit.title")),
      make("p", { className: "lead" }, t("limit.about")),
      form,
      said,
    )
  }

  /**
   * @param {Person} person
   * @param {(patch: object) => Promise<unknown>} change
   */
  #password({ name, has_password }, change) {
    const t = this.#room.i18n.t.bind(this.#room.i18n)
    const said = make(
      "p",
      { className: "lead", role: "status" },
      t(has_password ? "people.has_password" : "people.no_password"),
    )
    const form = make(
      "form",
      { className: "fields" },
      ...newPassword(this.#room.i18n),
      make("button", {}, t("account.set_password")),
    )
    form.addEventListener("submit", async (event) => {
      event.preventDefault()
      if (!await change({ password: new FormData(form).get("password") })) return
      form.reset()
      setText(said, t("people.password_set"))
    })
    const without = button(t("people.without_password"), async () => {
      if (await change({ password: null })) this.one(name)
    }, { hidden: !has_password })
    form.append(without)
    return make("div", { className: "part" }, make("h3", {}, t("session.password")), said, form)
  }

  /**
   * Ask what shall happen to the belongings of a person who is removed.
   * @param {string} name
   */
  #remains(name) {
    const t = this.#room.i18n.t.bind(this.#room.i18n)
    const others = this.#people.filter((person) => person.name !== name && !person.is_leaving)
    const to = make(
      "select",
      { name: "to", "aria-label": t("people.give_to") },
      ...others.map((each) => new Option(each.name)),
    )
    to.addEventListener("change", () => choose("give"))
    const choices = Object.entries(REMAINS).filter(([what]) => what !== "give" || others.length).map((
      [what, words],
    ) =>
      make(
        "label",
        { className: "tick" },
        make("input", { type: "radio", name: "tasks", value: what, checked: what === "keep" }),
        make("span", {}, t(words)),
      )
    )
    const choose = (/** @type {string} */ what) => {
      /** @type {HTMLInputElement | null} */
      const choice = group.querySelector(`[value=${what}]`)
      if (choice) choice.checked = true
    }
    const group = make(
      "fieldset",
      { className: "remains" },
      make("legend", {}, t("people.what_remains")),
      ...choices,
    )
    if (others.length) choices[1].after(to)
    return group
  }
}
