// @ts-check
// The account of the person who is logged in: its limits, password, tokens and log-ins.

import { button, make } from "../base/elements.js"
import { setText } from "../base/dom.js"
import { Room } from "../base/room.js"
import { LIMITS, timeIn } from "./limits.js"
import { ask, TokenList } from "./tokens.js"

/** @typedef {import("./people.js").Me} Me */
/** @typedef {{id: string, way: string, began_at?: string, ends_at: string, address?: string, agent?: string, is_current: boolean}} LogIn */

const SHORTEST_PASSWORD = 10
/** @type {Record<string, string>} */
export const ROLES = { admin: "people.admin", user: "people.user" }
/** @type {Record<string, string>} */
const WAYS = {
  token: "account.by_token",
  password: "account.by_password",
  proxy: "account.by_proxy",
  oidc: "account.by_oidc",
}
/** The names of browsers and systems in a User-Agent; if several fit, the first one counts. */
const BROWSERS = [[/Edg/, "Edge"], [/OPR/, "Opera"], [/Firefox/, "Firefox"], [/Chrome/, "Chrome"], [
  /Safari/,
  "Safari",
]]
const SYSTEMS = [
  [/Android/, "Android"],
  [/iPhone|iPad/, "iOS"],
  [/Windows/, "Windows"],
  [/Mac OS/, "macOS"],
  [/Linux/, "Linux"],
]

/** @param {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n}} parts */
export async function openAccount(parts) {
  const room = new Room(parts, "account", "follow.back")
  const body = make("div")
  room.put(room.i18n.t("account.title"), body, null)
  room.show()
  await room.attempt(async () => {
    /** @type {Me} */
    const me = await room.api.get("api/me")
    const { t } = { t: room.i18n.t.bind(room.i18n) }
    if (me.name) room.call(me.name)
    body.append(
      make("p", { className: "lead" }, [t(ROLES[me.role]), t(WAYS[me.way] ?? WAYS.token)].join(" · ")),
    )
    if (!me.name) body.append(make("p", { className: "lead" }, t("account.no_name")))
    const logIns = new LogIns(room)
    if (me.name) {
      const tokens = new TokenList(room, "api/me/tokens")
      body.append(usage(me, room.i18n), passwordForm(me, room, () => logIns.load()), tokens.element)
      await tokens.load()
    }
    body.append(logIns.element)
    await logIns.load()
  })
}

/**
 * @param {Me} me
 * @param {import("../base/i18n.js").I18n} i18n
 */
function usage({ limits, used }, i18n) {
  const rows = Object.entries(LIMITS).flatMap(([name, about]) => {
    const most = limits[name]
    const now = about.used && used?.[about.used]
    const amount = (/** @type {number} */ n) => (about.isBytes ? i18n.format.size(n) : i18n.format.count(n))
    if (most === undefined) return []
    const said = now === undefined
      ? i18n.t("limit.hours", { n: most })
      : i18n.t("limit.of", { used: amount(now), most: amount(most) })
    const isDay = name === "max_bytes_per_day" && used?.free_in
    const free = isDay ? i18n.t("limit.free", { time: timeIn(used.free_in ?? 0, i18n) }) : ""
    return [make("dt", {}, i18n.t(about.words)), make("dd", {}, [said, free].filter(Boolean).join("; "))]
  })
  return make(
    "div",
    { className: "part" },
    make("h3", {}, i18n.t("limit.title")),
    rows.length ? make("dl", {}, ...rows) : make("p", { className: "lead" }, i18n.t("limit.none")),
  )
}

/**
 * Make a field for a new password, with a button that shows the password while it is typed.
 * @param {import("../base/i18n.js").I18n} i18n
 */
export function newPassword(i18n) {
  const field = make("input", {
    name: "password",
    type: "password",
    autocomplete: "new-password",
    minLength: SHORTEST_PASSWORD,
    required: true,
  })
  const look = make("input", { type: "checkbox" })
  look.addEventListener("change", () => (field.type = look.checked ? "text" : "password"))
  return [
    make("label", { className: "field" }, make("span", {}, i18n.t("account.new_password")), field),
    make("label", { className: "tick" }, look, make("span", {}, i18n.t("account.look"))),
  ]
}

/**
 * @param {Me} me
 * @param {Room} room
 * @param {() => Promise<unknown>} changed  the other log-ins have ended
 */
function passwordForm(me, room, changed) {
  const t = room.i18n.t.bind(room.i18n)
  const said = make("p", { className: "lead", role: "status" })
  const old = make("input", {
    name: "old_password",
    type: "password",
    autocomplete: "current-password",
    required: true,
  })
  const oldLabel = make("label", { className: "field" }, make("span", {}, t("account.old_password")), old)
  const form = make(
    "form",
    { className: "fields" },
    // Tells a browser that stores passwords whose password this is.
    make("input", { name: "username", autocomplete: "username", defaultValue: me.name, hidden: true }),
    ...(me.has_password ? [oldLabel] : []),
    ...newPassword(room.i18n),
    make("button", {}, t(me.has_password ? "account.change_password" : "account.set_password")),
  )
  form.addEventListener("submit", (event) => {
    event.preventDefault()
    room.attempt(async () => {
      const { password, old_password } = Object.fromEntries(new FormData(form))
      await room.api.send("PATCH", "api/me", { password, old_password })
      form.reset()
      form.querySelector("[name=username]")?.after(oldLabel) // from now on a change needs the old password
      setText(said, t("account.password_changed"))
      await changed()
    })
  })
  return make(
    "div",
    { className: "part" },
    make("h3", {}, t("session.password")),
    make("p", { className: "lead" }, t("account.password_about")),
    form,
    said,
  )
}

class LogIns {
  element = make("div", { className: "part" })
  #room
  #list = make("ul", { className: "people-list" })

  /** @param {Room} room */
  constructor(room) {
    this.#room = room
    this.element.append(make("h3", {}, room.i18n.t("account.log_ins")), this.#list)
  }

  async load() {
    /** @type {{sessions: LogIn[]}} */
    const { sessions } = await this.#room.api.get("api/me/sessions")
    this.element.hidden = !sessions.length
    this.#list.replaceChildren(...sessions.map((one) => this.#row(one)))
  }

  /** @param {LogIn} logIn */
  #row({ id, way, began_at, address, agent, is_current }) {
    const { i18n, api } = this.#room
    const name =
      [BROWSERS, SYSTEMS].flatMap((kinds) =>
        kinds.find(([sign]) => /** @type {RegExp} */ (sign).test(agent ?? ""))?.[1] ?? []
      ).join(", ") || agent || i18n.t("account.unknown_browser")
    const began = began_at && i18n.t("account.since", { time: i18n.format.moment(new Date(began_at)) })
    const about = [
      is_current ? i18n.t("account.current") : "",
      i18n.t(WAYS[way] ?? WAYS.token),
      began,
      address,
    ]
    const words = i18n.t("account.end")
    const end = button(words, () => {
      ask(
        row,
        this.#room,
        [i18n.t("account.end_ask", { name: String(name) })],
        words,
        () =>
          this.#room.isDone(async () => {
            await api.send("DELETE", `api/me/sessions/${id}`)
            await this.load()
          }),
      )
    }, { "aria-label": `${words}: ${name}`, hidden: is_current }) // the present session has "Log out" in the menu
    const row = make(
      "li",
      {},
      make("bdi", {}, String(name)),
      make("span", {}, about.filter(Boolean).join(" · ")),
      end,
    )
    return row
  }
}
