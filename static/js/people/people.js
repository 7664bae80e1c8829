// @ts-check
// The part of the page for services with people, which only these load: who is logged in, the owner of each
// row, and the dialogs for people.

import { fetched, sentences } from "../base/api.js"
import { byId } from "../base/dom.js"
import { addSymbol, button, loadStyles, make } from "../base/elements.js"
import { owners } from "../tasks/task.js"
import { overLimit } from "./limits.js"

/** @typedef {"admin" | "user"} Role */
/** @typedef {{name?: string, role: Role, way: string, separate_lists: boolean, has_password: boolean, limits: Record<string, number>, used?: import("./limits.js").Use}} Me */
/** @typedef {{name: string, role: Role, has_password: boolean, limits: Record<string, number>, own_limits: Record<string, number>, is_leaving?: boolean, token?: string}} Person */

const STYLES = "static/css/people/people.css"
const SYMBOL = "M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8zM4 20a8 6 0 0 1 16 0"

/** Removes what was added to the page for the previous user. */
let leave = () => {}

/**
 * Find out who is logged in, and add the controls for this person to the page.
 * @param {object} parts
 * @param {import("../base/api.js").Api} parts.api
 * @param {import("../base/i18n.js").I18n} parts.i18n
 * @param {import("../session/session.js").Session} parts.session
 * @param {import("../settings/settings.js").Settings} parts.settings
 * @param {import("../list/filter.js").Filter} parts.filter
 * @param {import("../tasks/counts.js").Counts} parts.counts
 * @param {{more: import("../header/mainmenu.js").More}} parts.mainMenu
 * @param {import("../intake/intake.js").Intake} parts.intake
 * @param {() => unknown} parts.renew draws all rows anew
 */
export async function meet({ api, i18n, session, settings, filter, counts, mainMenu, intake, renew }) {
  /** @type {Me} */
  const me = await api.get("api/me")
  leave()
  if (session.isWanted) return
  const isAdmin = me.role === "admin"
  if (me.way === "proxy") session.isLoggedIn = false // the proxy would log the person in again at once
  sentences.over_limit = (body) => owners.chosen ? `${owners.chosen}: ${body.detail}` : overLimit(body, i18n)

  const seesOwners = isAdmin && me.separate_lists
  owners.of = (task) => (seesOwners ? task.owner : task.created_by) ?? ""
  owners.said = (task) => {
    const name = owners.of(task)
    return name && name !== me.name ? i18n.t(seesOwners ? "people.of" : "people.by", { name }) : ""
  }
  owners.admin = seesOwners ? me.name ?? "" : ""
  renew()

  const rooms = {
    account: async () => (await styled(import("./account.js"))).openAccount({ api, i18n }),
    people: async () =>
      (await styled(import("./peopleview.js"))).openPeople({ api, i18n, changed: offerOwners }),
    audit: async () => (await styled(import("./auditlog.js"))).openAudit({ api, i18n }),
  }
  /** @template T @param {Promise<T>} module */
  const styled = async (module) => (await fetched(Promise.all([module, loadStyles(STYLES)]), i18n))[0]

  const mayPause = isAdmin || !me.separate_lists
  const resume = byId("paused", HTMLElement).querySelector("button")
  resume?.toggleAttribute("hidden", !mayPause)
  addSymbol("person", SYMBOL)
  byId("menu", HTMLElement).title = me.name ?? ""
  mainMenu.more = {
    items: () => [{
      name: "person",
      text: me.name ?? i18n.t("account.title"),
      then: rooms.account,
    }],
    without: mayPause ? [] : ["pause", "resume"],
  }
  const entry = (/** @type {string} */ text, /** @type {() => unknown} */ open) =>
    button("", () => (section.closest("dialog")?.close(), open()), { "data-t": text })
  /** @type {HTMLElement} */
  const section = make(
    "section",
    { className: "of-service" },
    make("h3", { "data-t": isAdmin ? "people.title" : "account.title" }),
    make(
      "p",
      { className: "ways" },
      entry(isAdmin ? "account.open" : "account.parts", rooms.account),
      ...(isAdmin ? [entry("people.open", rooms.people), entry("audit.open", rooms.audit)] : []),
    ),
  )
  settings.section = section

  const form = byId("filter", HTMLFormElement)
  const choice = make("select", { name: "owner", "data-t-label": "people.whose" })
  const label = make("label", { className: "owner" }, choice)
  const whom = make("select", { "data-t-label": "people.for" })
  const whomLabel = make("label", { className: "for-whom" }, make("span", { "data-t": "people.for" }), whom)
  const addFor = (/** @type {string} */ name) => {
    owners.chosen = whom.value = name
    whomLabel.toggleAttribute("data-chosen", Boolean(name))
    intake.addForAnother()
  }
  whom.addEventListener("change", () => addFor(whom.value))
  const offerWhom = (/** @type {Person[]} */ people) => {
    const others = people.filter(({ name, is_leaving }) => name !== me.name && !is_leaving)
    whom.replaceChildren(
      make("option", { value: "", "data-t": "people.for_me" }),
      ...others.map(({ name }) => new Option(name, name)),
    )
    addFor(others.some(({ name }) => name === owners.chosen) ? owners.chosen : "")
    if (others.length) byId("choices", HTMLElement).prepend(whomLabel)
    else whomLabel.remove()
    i18n.translate(whomLabel)
  }
  const offerOwners = async () => {
    if (!isAdmin) return
    /** @type {{people: Person[]}} */
    const { people } = await api.get("api/people")
    if (me.separate_lists) {
      await loadStyles(STYLES)
      offerWhom(people)
    }
    if (people.length < 2) return
    const wanted = choice.value || new URLSearchParams(location.search).get("owner") || ""
    choice.replaceChildren(
      make("option", { value: "", "data-t": "people.everybody" }),
      ...people.map(({ name }) => new Option(name, name)),
    )
    choice.value = people.some(({ name }) => name === wanted) ? wanted : ""
    await loadStyles(STYLES)
    form.querySelector(".chips")?.after(label)
    i18n.translate(label)
    if (choice.value !== filter.rule.owner) choice.dispatchEvent(new Event("input", { bubbles: true }))
  }

  const end = new AbortController()
  leave = () => {
    end.abort()
    settings.section = undefined
    label.remove()
    whomLabel.remove()
    addFor("")
    resume?.removeAttribute("hidden")
    owners.of = owners.said = () => ""
    owners.admin = ""
    mainMenu.more = { items: () => [], without: [] }
    byId("menu", HTMLElement).removeAttribute("title")
    leave = () => {}
  }
  session.addEventListener("wanted", () => leave(), { signal: end.signal })
  let owner = filter.rule.owner
  filter.addEventListener("change", () => {
    if (owner !== filter.rule.owner) counts.ask()
    owner = filter.rule.owner
  }, { signal: end.signal })
  await offerOwners()
}
