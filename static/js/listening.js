// @ts-check
// What a pointer or a finger does on the list, told as deeds on rows.

/** @typedef {import("./row.js").Row} Row */

/** A control that has become another one under the pointer was not meant by whoever presses it. */
const UNMEANT_MS = 350
/** As long as a finger that stays selects. */
const LONG_PRESS_MS = 500

/**
 * @param {HTMLElement} root
 * @param {import("./rows.js").Rows} rows
 * @param {import("./deeds.js").Deeds} deeds
 * @param {{selection: import("./selection.js").Selection, view: import("./view.js").View}} many
 */
export function listen(root, rows, deeds, { selection, view }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let press
  let wasLong = false
  const rowAt = (/** @type {EventTarget | null} */ target) =>
    rows.row(target instanceof Element ? (target.closest(".row")?.getAttribute("data-id") ?? "") : "")

  root.addEventListener("click", (event) => {
    const { target } = event
    const control = target instanceof Element ? target.closest("[data-action]") : null
    const row = rowAt(target)
    if (wasLong) return event.preventDefault() // the finger that selected was lifted
    if (!row || !control || control.ariaDisabled === "true" || isYoung(control)) return
    const name = control.getAttribute("data-action") ?? ""
    const isSelecting = name === "select" || (name === "open" && selection.size > 0)
    if (isSelecting && event.shiftKey) selection.extend(row.id, view)
    else deeds.do(isSelecting ? "select" : name, row)
  })

  root.addEventListener("contextmenu", (event) => {
    const row = rowAt(event.target)
    const isElsewhere = event.target instanceof Element && event.target.closest("a, .details, input")
    if (!row || isElsewhere || row.isParting || String(getSelection())) return
    event.preventDefault()
    if (event instanceof PointerEvent && event.pointerType === "touch") return // a long press selects
    deeds.do("more", row, { x: event.clientX, y: event.clientY })
  })

  root.addEventListener("pointerdown", ({ target, pointerType }) => {
    wasLong = false
    const row = rowAt(target)
    if (pointerType !== "touch" || !row || (target instanceof Element && target.closest(".details"))) return
    press = setTimeout(() => {
      wasLong = true
      deeds.do("select", row)
    }, LONG_PRESS_MS)
  })
  for (const type of ["pointerup", "pointercancel", "pointermove"]) {
    root.addEventListener(type, () => clearTimeout(press), { passive: true })
  }
}

/** @param {Element} control */
function isYoung(control) {
  const born = Number(control.getAttribute("data-born") ?? "-Infinity")
  return performance.now() - born < UNMEANT_MS
}
