// @ts-check
// The keys of the page. The keys of a row work while the focus is on the row or in it, but not in a field.

import { fetched } from "../base/api.js"
import { isSeen } from "../base/dom.js"

const FIELDS =
  "input:not([type=checkbox], [type=radio]), textarea, select, dialog[open], [role=menu], video, audio"

/**
 * Show the list of the keys.
 * @param {import("../base/i18n.js").I18n} i18n
 */
export async function showKeys(i18n) {
  const { listKeys } = await fetched(import("./keylist.js"), i18n)
  listKeys(i18n)
}

export class Keys {
  /**
   * @param {object} parts
   * @param {HTMLElement} parts.root
   * @param {import("./rows.js").Rows} parts.rows
   * @param {import("../row/rowactions.js").RowActions} parts.rowActions
   * @param {import("./selection.js").Selection} parts.selection
   * @param {import("./list.js").TaskList} parts.list
   * @param {import("../intake/box.js").Box} parts.box
   * @param {import("./filter.js").Filter} parts.filter
   * @param {() => Promise<unknown>} parts.loadRest  of the list
   * @param {() => Promise<unknown>} parts.chooseOlder  select by age
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor({ root, rows, rowActions, selection, list, box, filter, loadRest, chooseOlder, i18n }) {
    /** @type {Record<string, () => void>} */
    const everywhere = {
      n: () => box.focus(),
      "/": () => filter.search(),
      "?": () => showKeys(i18n),
      Escape: () => selection.clear(),
      o: () => list.tasks.length && chooseOlder(),
      j: () => rows.step(rows.current, rows.current ? 1 : 0),
      k: () => rows.step(rows.current, rows.current ? -1 : 0),
      Home: () => rows.step(rows.current, -Infinity),
      End: async () => {
        await loadRest()
        rows.step(rows.current, Infinity)
      },
    }
    document.addEventListener("keydown", (event) => {
      const target = /** @type {Element} */ (event.target)
      // With caps lock the key is a capital letter.
      const key = event.shiftKey || event.key.length > 1 ? event.key : event.key.toLowerCase()
      if (event.defaultPrevented || event.altKey || event.isComposing) return
      const isPlain = !event.ctrlKey && !event.metaKey && !event.shiftKey
      if (isPlain && leadsToList(key, target)) {
        const verb = document.querySelector("#draft [data-part=verb]")
        if (key === "ArrowDown" && verb instanceof HTMLElement && isSeen(verb)) verb.focus()
        else if (list.tasks.length) rows.step(rows.current, 0)
        else return
        return event.preventDefault()
      }
      if (target.closest(FIELDS)) return
      if (document.body.dataset.page) return // the log-in is shown, and the keys have nothing to act on
      if (event.ctrlKey || event.metaKey) {
        if (key.toLowerCase() !== "a" || !list.tasks.length) return
        // Selects the whole log, to be copied.
        if (target.closest("pre")) getSelection()?.selectAllChildren(target)
        else selection.all(list.tasks)
      } else if (!onRow(event, key, target) && key in everywhere) everywhere[key]()
      else return
      event.preventDefault()
    })

    /**
     * @param {KeyboardEvent} event
     * @param {string} key
     * @param {Element} target
     */
    function onRow(event, key, target) {
      const element = root.contains(target) ? target.closest(".row") : null
      const row = rows.row(element?.getAttribute("data-id") ?? "")
      if (!row || target.closest("pre")) return false
      if (key === "Escape" && selection.size) return false
      const by = { ArrowDown: 1, ArrowUp: -1 }[key]
      const isOfControl = target !== element && ["Enter", " "].includes(key)
      const beside = target.closest(".details") ? undefined : controlBeside(key, row.element, target)
      if (by) rows.step(row.id, by)
      else if (beside) beside.focus({ preventScroll: true })
      else if (isOfControl) return true
      else if (!rowActions.press(key, row)) return false
      event.preventDefault()
      return true
    }
  }
}

/**
 * Return whether the key leads out of a field, down to the list.
 * @param {string} key
 * @param {Element} target
 */
function leadsToList(key, target) {
  if (key === "Escape") return target.id === "links"
  const isField = target instanceof HTMLTextAreaElement || target instanceof HTMLInputElement
  if (key !== "ArrowDown" || !isField || !["links", "q"].includes(target.name)) return false
  return target.selectionStart === target.value.length
}

/**
 * Move the focus within a row by the arrow keys: from the row to its controls, and from control to control.
 * The whole row is one stop of Tab.
 * @param {string} key
 * @param {HTMLElement} row
 * @param {Element} target the row, or one of its controls
 */
function controlBeside(key, row, target) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[key]
  if (key === "Escape" && target !== row) return row
  if (!by) return undefined
  const controls = row.querySelectorAll(".line :is(button, a)")
  const stops = [row, .../** @type {HTMLElement[]} */ ([...controls].filter(isSeen))]
  return stops[Math.max(0, stops.indexOf(/** @type {HTMLElement} */ (target)) + by)]
}
