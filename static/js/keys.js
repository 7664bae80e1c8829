// @ts-check
// The keys of the page. Those of a row hold while the focus is on it or in it, but in no field.

import { showKeys } from "./dialogs.js"

const FIELDS =
  "input:not([type=checkbox], [type=radio]), textarea, select, dialog[open], [role=menu], video, audio"

/** What a key does with a row, the first that is possible in its stage. @type {Record<string, string[]>} */
const OF_ROWS = {
  Enter: ["open"],
  " ": ["play"],
  p: ["pause", "resume"],
  r: ["retry", "again"],
  c: ["cancel"],
  s: ["save"],
  l: ["log"],
  t: ["first"],
  b: ["last"],
  m: ["more"],
  z: ["undo"],
  x: ["select"],
  Delete: ["delete"],
}

export class Keys {
  /**
   * @param {object} parts
   * @param {HTMLElement} parts.root
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("./deeds.js").Deeds} parts.deeds
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("./list.js").TaskList} parts.list
   * @param {import("./box.js").Box} parts.box
   * @param {import("./i18n.js").I18n} parts.i18n
   */
  constructor({ root, rows, deeds, selection, list, box, i18n }) {
    /** @type {Record<string, () => void>} */
    const everywhere = {
      n: () => box.focus(),
      "/": () => /** @type {HTMLElement} */ (document.querySelector("input[type=search]")).focus(),
      "?": () => showKeys(i18n),
      Escape: () => selection.clear(),
      j: () => rows.step(rows.current, rows.current ? 1 : 0),
      k: () => rows.step(rows.current, rows.current ? -1 : 0),
    }
    document.addEventListener("keydown", (event) => {
      const target = /** @type {Element} */ (event.target)
      if (event.defaultPrevented || event.altKey || event.isComposing || target.closest(FIELDS)) return
      if (event.ctrlKey || event.metaKey) {
        if (event.key.toLowerCase() !== "a" || !list.tasks.length) return
        if (target.closest("pre")) getSelection()?.selectAllChildren(target) // a log, to be copied
        else selection.all(list.tasks)
      } else if (!onRow(event, target) && event.key in everywhere) everywhere[event.key]()
      else return
      event.preventDefault()
    })

    /**
     * @param {KeyboardEvent} event
     * @param {Element} target
     */
    function onRow(event, target) {
      const element = root.contains(target) ? target.closest(".row") : null
      const row = rows.row(element?.getAttribute("data-id") ?? "")
      if (!row || target.closest("pre")) return false
      const by = { ArrowDown: 1, ArrowUp: -1 }[event.key]
      const isOfControl = target !== element && ["Enter", " "].includes(event.key)
      if (by) rows.step(row.id, by)
      else if (isOfControl || !(event.key in OF_ROWS)) return isOfControl
      else deeds.doFirst(OF_ROWS[event.key], row)
      if (!isOfControl) event.preventDefault()
      return true
    }
  }
}
