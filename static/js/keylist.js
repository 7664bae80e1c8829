// @ts-check
// The keys of the page, shown to whoever asks for them.

import { byId } from "./dom.js"

/** What the dialog shows; the words are `keys.<name>`. @type {[name: string, keys: string[]][]} */
const KEYS = [
  ["link", ["n"]],
  ["search", ["/"]],
  ["help", ["?"]],
  ["move", ["↑ ↓", "j k"]],
  ["open", ["Enter"]],
  ["play", ["Space"]],
  ["pause", ["p"]],
  ["retry", ["r"]],
  ["cancel", ["c"]],
  ["save", ["s"]],
  ["log", ["l"]],
  ["place", ["t", "b"]],
  ["more", ["m"]],
  ["delete", ["Delete"]],
  ["undo", ["z"]],
  ["select", ["x"]],
  ["all", ["Ctrl A"]],
  ["clear", ["Esc"]],
]

/** @param {import("./i18n.js").I18n} i18n */
export function listKeys(i18n) {
  const rows = KEYS.flatMap(([name, keys]) => {
    const [term, words] = [document.createElement("dt"), document.createElement("dd")]
    term.append(...keys.map((key) => Object.assign(document.createElement("kbd"), { textContent: key })))
    words.textContent = i18n.t(`keys.${name}`)
    return [term, words]
  })
  const dialog = byId("keys", HTMLDialogElement)
  dialog.querySelector("dl")?.replaceChildren(...rows)
  dialog.showModal()
}
