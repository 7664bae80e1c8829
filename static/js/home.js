// @ts-check
// At home on the device: what other apps share with the page, and its shell kept for when the server is away.

import { byId } from "./dom.js"

/** The first visit has ended by then: a shell that is kept is for the next one. */
const LATER_MS = 10_000

/**
 * All is wired: the reader can begin.
 * @param {import("./box.js").Box} box
 */
export function arrive(box) {
  begin(box)
  document.documentElement.toggleAttribute("data-ready", true)
  if (matchMedia("(pointer: fine)").matches) box.focus() // elsewhere it would call up a keyboard
  keepShell()
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

/** A link, or a sentence with one in it: from the share sheet of a phone, or from a click before any script ran. */
function sharedText() {
  const query = new URLSearchParams(location.search)
  return query.get("url") || query.get("text") || query.get("title") || query.get("links") || ""
}

/** Browsers allow this on this machine and over HTTPS. */
function keepShell() {
  if (!isSecureContext || !navigator.serviceWorker) return
  const script = new URL("static/js/sw.js", document.baseURI)
  const scope = new URL("./", document.baseURI).pathname
  setTimeout(() => navigator.serviceWorker.register(script, { scope }).catch(() => {}), LATER_MS) // it is no loss
}
