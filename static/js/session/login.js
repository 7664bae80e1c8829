// @ts-check
// The log-in form: with a token or, if people were added, also with name and password or at the OpenID
// provider.

import { Problem } from "../base/api.js"
import { setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"

/** The ways to log in, the likeliest first, with the words of each button. @type {Record<string, string>} */
const WAYS = { oidc: "session.by_oidc", password: "session.by_password", token: "session.by_token" }
/**
 * The errors in the address with which the provider's log-in comes back, and their words.
 * @type {Record<string, string>}
 */
const REFUSALS = {
  refused: "session.oidc_refused",
  expired: "session.oidc_expired",
  unknown: "session.oidc_unknown",
  no_name: "session.oidc_no_name",
  away: "session.oidc_away",
}
const REMEMBERED = "log-in"

/**
 * Show the log-in until there is a session.
 * @param {object} parts
 * @param {import("../base/api.js").Api} parts.api
 * @param {import("../base/i18n.js").I18n} parts.i18n
 * @param {import("./session.js").Session} parts.session
 */
export function showLogIn({ api, i18n, session }) {
  const ways = Object.keys(WAYS).filter((way) => (session.ways ?? ["token"]).includes(way))
  const recalled = recall(REMEMBERED, "")
  let way = ways.includes(recalled) ? recalled : ways[0]
  const problem = make("p", { id: "login-problem", className: "problem", role: "alert" })
  const form = make("form", { id: "login", className: "login" })

  const show = (/** @type {string} */ chosen) => {
    way = chosen
    const others = ways.filter((each) => each !== way)
    form.replaceChildren(
      make("h2", { "data-t": "session.title" }),
      ...fieldsOf(way),
      problem,
      way === "oidc" ? toProvider() : make("button", { className: "primary", "data-t": "session.login" }),
      ...others.map((each) =>
        button("", () => chooseAnother(each), { className: "quiet", "data-t": WAYS[each] })
      ),
    )
    i18n.translate(form)
    /** @type {HTMLElement | null} */
    const first = form.querySelector("input, .primary")
    first?.focus() // by now no other dialog is open that would keep the focus
  }
  const chooseAnother = (/** @type {string} */ other) => {
    setText(problem, "")
    show(other)
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault()
    const given = Object.fromEntries(new FormData(form))
    if (way === "token") given.token = String(given.token).trim()
    try {
      await api.send("POST", "api/session", given)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      /** @type {HTMLInputElement | null} */
      const secret = form.querySelector("[type=password]")
      secret?.select()
      const wrong = way === "token" ? "session.wrong" : "session.wrong_password"
      return setText(problem, error.status === 401 ? i18n.t(wrong) : error.message)
    }
    remember(REMEMBERED, way)
    session.begin()
  })
  session.addEventListener("begun", () => form.remove(), { once: true })
  document.querySelector("main")?.prepend(form)
  show(way)
  setText(problem, refusal(i18n))
}

/** @param {string} way */
function fieldsOf(way) {
  if (way === "oidc") return [make("p", { className: "lead", "data-t": "session.oidc" })]
  if (way === "token") {
    return [
      make("p", { className: "lead", "data-t": "session.why" }),
      field("token", "session.token", { id: "token", type: "password", autocomplete: "current-password" }),
    ]
  }
  return [
    field("name", "session.name", { autocomplete: "username", autocapitalize: "none", spellcheck: false }),
    field("password", "session.password", { type: "password", autocomplete: "current-password" }),
  ]
}

/**
 * @param {string} name
 * @param {string} label
 * @param {Record<string, any>} properties
 */
const field = (name, label, properties) =>
  make(
    "label",
    { className: "field" },
    make("span", { "data-t": label }),
    make("input", { name, required: true, ...properties }),
  )

/** Make the link to the provider, which leads back to this page. */
function toProvider() {
  const link = make("a", {
    className: "button primary",
    href: "api/session/oidc",
    "data-t": "session.by_oidc",
  })
  link.addEventListener("click", () => remember(REMEMBERED, "oidc"))
  return link
}

/**
 * Return why the log-in at the provider has failed, or "". The reason is removed from the address, so that a
 * reload does not show it again.
 * @param {import("../base/i18n.js").I18n} i18n
 */
function refusal(i18n) {
  const url = new URL(location.href)
  const reason = url.searchParams.get("log_in_error")
  if (reason === null) return ""
  url.searchParams.delete("log_in_error")
  history.replaceState(null, "", url)
  return i18n.t(REFUSALS[reason] ?? REFUSALS.refused)
}
