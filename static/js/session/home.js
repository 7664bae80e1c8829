// @ts-check
// The page as an app of the device: it takes links that other apps share, and keeps its own files for when
// the server is away.

import { byId, on } from "../base/dom.js"

/** After this time the page is complete, and loads what it will need later. */
const LATER_MS = 10_000
/**
 * The parameters of the address in which a shared link or text may come; those most likely to have a link are
 * first.
 */
const SHARED = ["url", "text", "title", "links"]

/**
 * Begin, once all parts of the page are connected.
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
  // Without it now, the module is loaded on demand.
  setTimeout(() => import("../row/details.js").catch(() => {}), LATER_MS)
}

/**
 * Keep the text that was typed before the scripts ran, and send it if it ended with Enter.
 * @param {import("../intake/box.js").Box} box
 */
function begin(box) {
  const isEntered = box.text.endsWith("\n") && box.links.length > 0
  box.add(sharedText())
  if (isEntered) byId("submit", HTMLFormElement).requestSubmit()
}

/** Remove a shared link that was sent from the address, so that a reload does not offer it again. */
function forgetShared() {
  const url = new URL(location.href)
  for (const name of SHARED) url.searchParams.delete(name)
  if (url.href !== location.href) history.replaceState(null, "", url)
}

/**
 * Return a link, or a text with a link, that came in the address: from the share sheet of a phone, or from a
 * click before any script ran.
 */
function sharedText() {
  const query = new URLSearchParams(location.search)
  return SHARED.map((name) => query.get(name)).find(Boolean) ?? ""
}

/**
 * Store the page for when the server is away, after the list has come. Browsers allow service workers only on
 * this machine and over HTTPS.
 */
export function keepShell() {
  if (!isSecureContext || !navigator.serviceWorker) return
  const script = new URL("static/js/sw.js", document.baseURI)
  const scope = new URL("./", document.baseURI).pathname
  // The page works without a service worker.
  navigator.serviceWorker.register(script, { scope }).catch(() => {})
}
