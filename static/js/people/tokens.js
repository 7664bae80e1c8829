// @ts-check
// The tokens of a person: a list in which tokens are added and revoked. A new token is shown only once.

import { setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"

/** @typedef {{label: string, created_at: string, expires_at?: string, used_at?: string}} Token */

const DAY_S = 86_400
/** The choices of days after which a token expires; 0: never. */
const DAYS = [30, 90, 365, 0]

/**
 * Ask a question in its place, before something is done.
 * @param {HTMLElement} place below which, or in whose item, the question stands until it is answered
 * @param {import("../base/room.js").Room} room
 * @param {(Node | string)[]} question
 * @param {string} words of the button that does it
 * @param {() => Promise<boolean>} act whether it was done: else the question stays
 */
export function ask(place, room, question, words, act) {
  const focused = document.activeElement
  const close = () => {
    const hadFocus = asked.contains(document.activeElement) || document.activeElement === document.body
    asked.remove()
    if (!hadFocus) return // the action has moved the focus itself
    if (focused instanceof HTMLElement && focused.isConnected) focused.focus()
    else room.focusTitle()
  }
  const send = async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault()
    if (await act()) close()
  }
  const asked = make(
    "form",
    { className: "asked", onsubmit: send },
    make("div", {}, ...question),
    make("button", {}, words),
    button(room.i18n.t("follow.cancel"), close),
  )
  asked.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing) return
    event.preventDefault() // Escape would also close the dialog
    event.stopPropagation()
    close()
  })
  document.querySelector(".room .asked")?.remove()
  if (place.matches("li")) place.append(asked)
  else place.after(asked)
  const first = asked.querySelector("input:checked, input, button")
  if (first instanceof HTMLElement) first.focus()
}

/**
 * Show a secret, which is shown only once, with a button that copies it.
 * @param {string} token
 * @param {import("../base/room.js").Room} room
 */
export function shownOnce(token, { i18n }) {
  const field = make("input", { value: token, readOnly: true, dir: "ltr", "aria-label": i18n.t("token.new") })
  const said = make("span", { className: "lead", role: "status" })
  const copy = async () => {
    field.select()
    // Browsers offer the clipboard over HTTPS only.
    if (navigator.clipboard) await navigator.clipboard.writeText(token)
    setText(said, i18n.t(navigator.clipboard ? "token.copied" : "token.selected"))
  }
  field.addEventListener("focus", () => field.select())
  return make(
    "div",
    { className: "secret" },
    make("p", {}, i18n.t("token.once")),
    make("p", { className: "fields" }, field, button(i18n.t("token.copy"), copy), said),
  )
}

export class TokenList {
  element = make("div", { className: "part" })
  #room
  #path
  #list = make("ul", { className: "people-list" })
  #made = make("div")

  /**
   * @param {import("../base/room.js").Room} room
   * @param {string} path  of the tokens
   */
  constructor(room, path) {
    this.#room = room
    this.#path = path
    const t = room.i18n.t.bind(room.i18n)
    const label = make("input", {
      name: "label",
      required: true,
      maxLength: 64,
      pattern: "[A-Za-z0-9._ \\-]+",
    })
    const days = make(
      "select",
      { name: "days" },
      ...DAYS.map((n) => new Option(n ? t("token.days", { n }) : t("token.no_end"), String(n))),
    )
    const form = make(
      "form",
      { className: "fields" },
      make("label", { className: "field" }, make("span", {}, t("token.label")), label),
      make("label", { className: "field" }, make("span", {}, t("token.expires")), days),
      make("button", {}, t("token.add")),
    )
    form.addEventListener("submit", (event) => {
      event.preventDefault()
      room.attempt(async () => {
        const expires_in = Number(days.value) * DAY_S || undefined
        const made = await room.api.send("POST", path, { label: label.value.trim(), expires_in })
        form.reset()
        this.show(made.token)
        await this.load()
      })
    })
    this.element.append(make("h3", {}, t("token.title")), this.#list, this.#made, form)
  }

  /** @param {string} token  that was made just now */
  show(token) {
    const shown = shownOnce(token, this.#room)
    this.#made.replaceChildren(shown)
    shown.querySelector("input")?.focus()
  }

  async load() {
    /** @type {{tokens: Token[]}} */
    const { tokens } = await this.#room.api.get(this.#path)
    this.#list.replaceChildren(...tokens.map((token) => this.#row(token)))
  }

  /** @param {Token} token */
  #row({ label, created_at, expires_at, used_at }) {
    const { i18n } = this.#room
    const day = (/** @type {string} */ at) => i18n.format.moment(new Date(at))
    const about = [
      i18n.t("token.made", { time: day(created_at) }),
      used_at ? i18n.t("token.used", { time: day(used_at) }) : i18n.t("token.unused"),
      expires_at
        ? i18n.t(Date.parse(expires_at) > i18n.now() ? "token.until" : "token.expired", {
          time: day(expires_at),
        })
        : i18n.t("token.never"),
    ]
    const words = i18n.t("token.revoke")
    const revoke = button(words, () => {
      ask(
        row,
        this.#room,
        [i18n.t("token.revoke_ask", { label })],
        words,
        () =>
          this.#room.isDone(async () => {
            await this.#room.api.send("DELETE", `${this.#path}/${encodeURIComponent(label)}`)
            await this.load()
          }),
      )
    }, { "aria-label": `${words}: ${label}` })
    const row = make("li", {}, make("bdi", {}, label), make("span", {}, about.join(" · ")), revoke)
    return row
  }
}
