// @ts-check
// The list of the page's keys, loaded when it is first opened.

import { ACTIONS } from "../row/actions.js"
import { openDialog } from "../base/dialogs.js"
import { iconButton, make } from "../base/elements.js"

/**
 * The keys that work everywhere except in a field; their words are `keys.<name>`.
 * @type {Record<string, string>}
 */
export const EVERYWHERE = {
  link: "n",
  list: "Esc ↓",
  search: "/",
  move: "j k",
  ends: "Home End",
  all: "Ctrl A",
  older: "o",
  clear: "Esc",
  help: "?",
}
/** The names of keys. @type {Record<string, string>} */
const NAMES = { " ": "Space" }

/**
 * Make the list anew, in the page's present language.
 * @param {import("../base/i18n.js").I18n} i18n
 */
function theDialog(i18n) {
  document.getElementById("keys")?.remove()
  const dialog = make("dialog", { id: "keys", className: "sheet", "aria-labelledby": "keys-title" })
  const close = iconButton("cancel", i18n.t("dialog.close"), () => dialog.close())
  dialog.append(make("header", {}, make("h2", { id: "keys-title" }, i18n.t("keys.title")), close))
  for (const where of ["keys.everywhere", "keys.on_row"]) {
    dialog.append(make("h3", {}, i18n.t(where)), make("dl", { className: "keys" }))
  }
  document.body.append(dialog)
  return dialog
}

/** @param {import("../base/i18n.js").I18n} i18n */
export function listKeys(i18n) {
  const dialog = theDialog(i18n)
  /** @type {Map<string, string[]>} */
  const ofRows = new Map([["↑ ↓", [i18n.t("keys.move")]], ["← →", [i18n.t("keys.controls")]]])
  for (const [name, { key }] of Object.entries(ACTIONS)) {
    const words = i18n.t(`action.${name}`)
    const isOfLists = name.endsWith("_entries") // actions on entries use the same keys for every list
    if (key && !isOfLists) ofRows.set(key, [...(ofRows.get(key) ?? []), words])
  }
  const lists = [
    Object.entries(EVERYWHERE).map(([name, keys]) => [keys, i18n.t(`keys.${name}`)]),
    [...ofRows].map(([key, words]) => [NAMES[key] ?? key, words.join(" / ")]),
  ]
  for (const [at, list] of dialog.querySelectorAll("dl").entries()) {
    list.replaceChildren(...lists[at].flatMap(([keys, text]) => {
      const [term, words] = [document.createElement("dt"), document.createElement("dd")]
      const shown = keys === "Ctrl A" ? [keys] : keys.split(" ")
      term.append(...shown.map((key) => Object.assign(document.createElement("kbd"), { textContent: key })))
      words.textContent = text
      return [term, words]
    }))
  }
  openDialog(dialog)
}
