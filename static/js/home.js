// @ts-check
// At home on the device: what other apps share with the page, and its shell kept for when the server is away.

import { byId, on } from "./dom.js"

/** The first visit has ended by then: what is fetched now is for what comes later. */
const LATER_MS = 10_000
/** In which parts of the address something comes along, the most telling first. */
const SHARED = ["url", "text", "title", "links"]

/**
 * All is wired: the reader can begin.
 * @param {import("./box.js").Box} box
 * @param {import("./submit.js").Submit} submit
 * @param {import("./session.js").Session} session
 */
export function arrive(box, submit, session) {
  // Elsewhere the focus would call up a keyboard.
  const welcome = () => matchMedia("(pointer: fine)").matches && box.focus()
  on(submit, "done", ({ taken }) => taken && forgetShared())
  on(session, "begun", welcome)
  begin(box)
  document.documentElement.toggleAttribute("data-ready", true)
  welcome()
  setTimeout(keepReady, LATER_MS)
}

/**
 * What was typed before the scripts ran stays, and is sent if Enter ended it.
 * @param {import("./box.js").Box} box
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

/** What is fetched on demand is there before somebody waits for it, and the shell before the server is away. */
function keepReady() {
  import("./details.js").catch(() => {}) // it is asked for again
  keepShell()
}

/** Browsers allow this on this machine and over HTTPS. */
function keepShell() {
  if (!isSecureContext || !navigator.serviceWorker) return
  const script = new URL("static/js/sw.js", document.baseURI)
  const scope = new URL("./", document.baseURI).pathname
  navigator.serviceWorker.register(script, { scope }).catch(() => {}) // it is no loss
}
