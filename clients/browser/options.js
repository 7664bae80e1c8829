// @ts-check
// The options: address, token, preset. Saving asks the browser for the right to ask this one server, and no other.

import { browser, text } from "./browser.js"
import { ask, isLoopback, permissionFor, readAddress, readSettings, Refused } from "./server.js"

/** @typedef {import("./server.js").Settings} Settings */

const form = /** @type {HTMLFormElement} */ (document.querySelector("form"))
const output = /** @type {HTMLOutputElement} */ (document.querySelector("output"))
const fields = /** @type {HTMLFieldSetElement} */ (document.querySelector("fieldset"))
const field = (/** @type {string} */ name) => /** @type {any} */ (form.elements.namedItem(name))

document.documentElement.lang = text("language")
for (const each of document.querySelectorAll("[data-text]")) {
  each.textContent = text(/** @type {HTMLElement} */ (each).dataset.text ?? "")
}

form.addEventListener("submit", async (event) => {
  event.preventDefault()
  try {
    say("", text("asking"))
    await save(read()) // save at once: the browser asks for the permission only during the user's click
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    say("bad", error.message)
  }
})

await fill(await readSettings())

/** @param {Settings} settings */
async function fill(settings) {
  field("server").value = settings.server
  field("token").value = settings.token
  field("tells").checked = settings.tells
  showPresets(settings.preset ? [settings.preset] : [], settings.preset)
  fields.disabled = false // enabled only now: the stored settings would overwrite what was typed before
  if (settings.server) await showServer(settings).catch(sayRefusal)
}

/** @returns {Settings} */
function read() {
  const token = field("token").value.trim()
  if (!/^[\x21-\x7e]*$/.test(token)) throw new Refused("settings", text("tokenUnusable"))
  return {
    server: readAddress(field("server").value),
    token,
    preset: field("preset").value,
    tells: field("tells").checked,
  }
}

/** @param {Settings} wanted */
async function save(wanted) {
  const asked = browser.permissions.request({
    ...permissionFor(wanted.server),
    permissions: wanted.tells ? ["notifications"] : [],
  })
  if (!(await asked)) throw new Refused("settings", text("notAllowed", wanted.server))
  const before = await readSettings()
  await browser.storage.local.set({ settings: wanted })
  field("server").value = wanted.server
  const old = before.server ? permissionFor(before.server) : { origins: [] }
  if (old.origins.length && old.origins[0] !== permissionFor(wanted.server).origins[0]) {
    await browser.permissions.remove(old)
  }
  await showServer(wanted).catch(sayRefusal)
}

/**
 * Ask the server whether it would accept a request, so that faults show now, and for its presets.
 * @param {Settings} settings
 */
async function showServer(settings) {
  const { presets } = (await ask(settings, "/api/presets")) ?? {}
  if (!presets) throw new Refused("settings", text("notClipwire", settings.server))
  showPresets(Object.keys(presets), settings.preset)
  // The request does nothing: the server only says whether it accepts the token and the origin.
  await ask(settings, "/api/tasks/actions", {
    method: "POST",
    body: JSON.stringify({ action: "cancel", ids: ["nothing"] }),
  })
  const isOpen = settings.server.startsWith("http:") && !isLoopback(new URL(settings.server).hostname)
  say("good", isOpen ? `${text("works")} ${text("unencrypted")}` : text("works"))
}

/** @param {string[]} names @param {string} chosen */
function showPresets(names, chosen) {
  const select = /** @type {HTMLSelectElement} */ (field("preset"))
  select.length = 1
  for (const name of new Set(names)) select.add(new Option(name, name))
  select.value = chosen
  if (select.selectedIndex < 0) select.value = ""
}

/** @param {unknown} error */
function sayRefusal(error) {
  if (!(error instanceof Refused)) throw error
  say("bad", error.message)
}

/** @param {"" | "good" | "bad"} kind @param {string} what */
function say(kind, what) {
  output.dataset.kind = kind
  output.textContent = what
}
