// @ts-check
// The audit log for admins: who did what, the newest event first.

import { button, make } from "../base/elements.js"
import { Room } from "../base/room.js"

/** @typedef {{at: string, who?: string, what: string, on?: string, from?: string}} Event */

const PAGE = 50

/** @param {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n}} parts */
export async function openAudit(parts) {
  const room = new Room(parts, "audit", "follow.back")
  const { i18n, api } = room
  const t = i18n.t.bind(i18n)
  /** @type {string | undefined} */
  let cursor
  const list = make("tbody")
  const more = button(t("entries.more"), () => load(), { hidden: true })
  const load = () =>
    room.attempt(async () => {
      const answer = await api.get("api/audit", { limit: PAGE, cursor })
      cursor = answer.next_cursor
      list.append(...answer.events.map((/** @type {Event} */ event) => row(event)))
      room.keepFocus(() => (more.hidden = !cursor))
    })
  /** @param {Event} event */
  const row = ({ at, who, what, on = "", from = "" }) => {
    const [, done, refused] = /^(.*?)(_refused)?$/.exec(what) ?? []
    const known = t(`audit.${what}`, {}, "") || t(`audit.${done}`, {}, done)
    const said = refused && known === t(`audit.${done}`, {}, done)
      ? t("audit.refused", { what: known })
      : known
    const cells = [
      i18n.format.moment(new Date(at)),
      who ?? (what === "log_in_refused" ? "" : t("audit.nobody")),
      said,
      on,
      from,
    ]
    return make("tr", {}, ...cells.map((text) => make("td", { dir: "auto" }, text)))
  }
  const heads = ["audit.at", "audit.who", "audit.what", "audit.on", "audit.from"]
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...heads.map((key) => make("th", { scope: "col" }, t(key))))),
    list,
  )
  const scrolled = make("div", {
    className: "audit",
    tabIndex: 0,
    role: "region",
    "aria-label": t("audit.title"),
  }, table)
  room.put(
    t("audit.title"),
    make("div", {}, make("p", { className: "lead" }, t("audit.about")), scrolled, more),
    null,
  )
  room.show()
  await load()
}
