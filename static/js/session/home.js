// @ts-check
// The page as an app of the device: takes what other apps share, and keeps its shell for when the server is away.

import { byId, on } from "../base/dom.js"

/** By then the page is at rest: what is fetched after that is for later use. */
const LATER_MS = 10_000
/** Parameters of the address in which a shared link or text may come, the likeliest to hold a link first. */
const SHARED = ["url", "text", "title", "links"]

/**
 * Called when all parts are connected: the reader can begin.
 * @param {import("../intake/box.js").Box} box
 * @param {import("../intake/submit.js").Submit} submit
 * @param {import("./session.js").Session} session
 */
export function arrive(box, submit, session) {
  // On a touch screen the focus would open the keyboard.
  const welcome = () => matchMedia("(pointer: fine)").matches && box.focus()
  on(submit, "done", ({ taken }) => taken && forgetShared())
  on(session, "begun", welcome)
  begin(box)
  document.documentElement.toggleAttribute("data-ready", true)
  welcome()
  setTimeout(() => import("../row/details.js").catch(() => {}), LATER_MS) // it is fetched again on demand
}

/**
 * What was typed before the scripts ran stays, and is sent if Enter ended it.
 * @param {import("../intake/box.js").Box} box
 */
function begin(box) {
  const isEntered = box.text.endsWith("\n") && box.links.length > 0
  box.add(sharedText())
  if (isEntered) byId("submit", HTMLFormElement).requestSubmit()
}

/** What was shared has been sent: a reload is not to offer it once more. */
function forgetShared() {
  const url = new URL(location.href)
  for (const name of SHARED) url.searchParams.delete(name)
  if (url.href !== location.href) history.replaceState(null, "", url)
}

/** A link, or a sentence with one in it: from the share sheet of a phone, or from a click before any script ran. */
function sharedText() {
  const query = new URLSearchParams(location.search)
  return SHARED.map((name) => query.get(name)).find(Boolean) ?? ""
}

/**
 * Have the page kept for when the server is away, once the list is there, which comes first. Browsers allow service
 * workers only on this machine and over HTTPS.
 */
export function keepShell() {
  if (!isSecureContext || !navigator.serviceWorker) return
  const script = new URL("static/js/sw.js", document.baseURI)
  const scope = new URL("./", document.baseURI).pathname
  navigator.serviceWorker.register(script, { scope }).catch(() => {}) // the page works without it
}
