// @ts-check
// Requests to the user's own server. All end within PATIENCE_MS: a service worker may not wait for long.

import { browser, text } from "./browser.js"

const PATIENCE_MS = 15_000
const LATER = [429, 502, 503, 504, 507]

/**
 * `server` is the address without a slash at its end; "" until the user has entered one.
 * @typedef {{ server: string, token: string, preset: string, tells: boolean }} Settings
 */

/**
 * An error of the server or of the way to it; `remedy` says what will help: time, other settings, or nothing.
 */
export class Refused extends Error {
  /** @param {"later" | "settings" | "none"} remedy @param {string} message */
  constructor(remedy, message) {
    super(message)
    this.remedy = remedy
  }
}

/** @returns {Promise<Settings>} */
export async function readSettings() {
  const { settings } = await browser.storage.local.get("settings")
  return { server: "", token: "", preset: "", tells: false, ...settings }
}

/**
 * Return the typed address in the form of `Settings.server`; throw `Refused` with the fault in it.
 * @param {string} typed
 */
export function readAddress(typed) {
  const trimmed = typed.trim()
  let url
  try {
    if (/^[a-z][a-z0-9+.-]*:\/\//i.test(trimmed)) {
      url = new URL(trimmed)
    } else { // a public address without a scheme gets https: the token must not travel unencrypted
      url = new URL(`https://${trimmed}`)
      if (isPrivate(url.hostname)) url = new URL(`http://${trimmed}`)
    }
  } catch {
    throw new Refused("settings", text("addressWrong"))
  }
  if (!/^https?:$/.test(url.protocol) || url.username || url.password || !trimmed) {
    throw new Refused("settings", text("addressWrong"))
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "")
}

/**
 * Return whether a host is this machine or an address of a private network. What a name resolves to is not
 * known here.
 * @param {string} host as a URL has it
 */
function isPrivate(host) {
  if (isLoopback(host)) return true
  if (host.startsWith("[")) return /^\[(f[cd][0-9a-f]{2}|fe[89ab][0-9a-f]):/.test(host)
  const [first, second] = (/^(\d+)\.(\d+)\.\d+\.\d+$/.exec(host) ?? []).slice(1).map(Number)
  return first === 10 || (first === 192 && second === 168) ||
    (first === 172 && second >= 16 && second < 32) ||
    (first === 100 && second >= 64 && second < 128) || (first === 169 && second === 254)
}

/** @param {string} host */
export function isLoopback(host) {
  return host === "localhost" || host.endsWith(".localhost") || /^(127\.\d+\.\d+\.\d+|\[::1\])$/.test(host)
}

/**
 * Return the pattern of addresses for which the extension asks permission. Firefox knows no ports in it:
 * without a port, all are meant.
 * @param {string} server
 */
export function permissionFor(server) {
  const { protocol, hostname } = new URL(server)
  return { origins: [`${protocol}//${hostname}/*`] }
}

/**
 * Send a request; return the JSON of the answer, undefined if it has no body, null for a 404. Throws
 * `Refused`.
 * @param {Settings} settings
 * @param {string} path
 * @param {RequestInit} [how]
 */
export async function ask(settings, path, how) {
  if (!settings.server) throw new Refused("settings", text("notSetUp"))
  if (!(await browser.permissions.contains(permissionFor(settings.server)))) {
    throw new Refused("settings", text("notAllowed", settings.server))
  }
  /** @type {Record<string, string>} */
  const headers = { "Accept-Language": text("language") }
  if (settings.token) headers.Authorization = `Bearer ${settings.token}`
  if (how?.body) headers["Content-Type"] = "application/json"
  /** @type {RequestInit} */
  const always = { cache: "no-store", credentials: "omit", signal: AbortSignal.timeout(PATIENCE_MS) }
  /** @type {Response} */
  let answer
  try {
    answer = await fetch(settings.server + path, {
      ...always,
      redirect: "error", // the token must not go to another address than the entered one
      ...how,
      headers: { ...headers, .../** @type {Record<string, string>} */ (how?.headers) },
    })
  } catch {
    // A second request, without the token, tells whether nobody answers or a redirect was refused.
    const plain = await fetch(settings.server + path, { ...always, redirect: "manual" }).catch(() =>
      undefined
    )
    if (plain?.type !== "opaqueredirect") throw new Refused("later", text("away", settings.server))
    throw new Refused("settings", text("leadsElsewhere", settings.server))
  }
  if (answer.status === 204) return undefined
  const said = await answer.json().catch(() => undefined)
  if (answer.ok && said && typeof said === "object") return said
  if (answer.status === 401) throw new Refused("settings", text("tokenWrong"))
  if (LATER.includes(answer.status)) throw new Refused("later", said?.detail ?? text("away", settings.server))
  if (!said?.code) throw new Refused("settings", text("notClipwire", settings.server))
  if (answer.status === 404) return null
  if (said.code === "origin_forbidden") {
    await ask(settings, "/api/queue") // throws `Refused` if the token is the reason
    throw new Refused("settings", text("noTokens"))
  }
  throw new Refused(answer.status === 403 ? "settings" : "none", wrongs(said))
}

/** @param {any} problem */
function wrongs(problem) {
  const fields = (problem.errors ?? []).map((/** @type {any} */ each) => `${each.field}: ${each.message}`)
  return fields.join("; ") || problem.detail || problem.title
}

/**
 * Log the browser in, because a tab cannot send the token with its requests.
 * @param {Settings} settings
 */
export async function logIn(settings) {
  const how = /** @type {RequestInit} */ ({ credentials: "include" })
  const session = await ask(settings, "/api/session", how)
  if (!session?.login_required || session.logged_in) return
  await ask(settings, "/api/session", {
    ...how,
    method: "POST",
    body: JSON.stringify({ token: settings.token }),
  })
}
