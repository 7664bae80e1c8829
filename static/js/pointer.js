// @ts-check
// Turns clicks and touches on the list into actions on rows.

/** @typedef {import("./row.js").Row} Row */

/** A press on a control that has replaced another one this recently is ignored: it was meant for the other. */
const UNMEANT_MS = 350
/** A touch of this length selects, and the finger may roll this far meanwhile. */
const LONG_PRESS_MS = 500
const ROLL_PX = 10

/**
 * @param {HTMLElement} root
 * @param {import("./rows.js").Rows} rows
 * @param {import("./rowactions.js").RowActions} rowActions
 * @param {{selection: import("./selection.js").Selection, shown: import("./shown.js").ShownList, play: (task: import("./task.js").Task, isForClip: boolean, kind: string) => unknown}} parts
 */
export function listen(root, rows, rowActions, { selection, shown, play }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let press
  let wasLong = false
  let from = { x: 0, y: 0 }
  /** The control that the first click of a double click hit: the second is not meant for one that has replaced it. */
  /** @type {Element | null} */
  let meant = null
  const rowAt = (/** @type {EventTarget | null} */ target) =>
    rows.row(target instanceof Element ? (target.closest(".row")?.getAttribute("data-id") ?? "") : "")

  document.addEventListener("click", ({ target, detail }) => detail > 1 || (meant = controlAt(target)), true)
  root.addEventListener("click", (event) => {
    const [control, row] = [controlAt(event.target), rowAt(event.target)]
    if (wasLong && event.detail) return event.preventDefault() // the finger that selected was lifted
    if (event.detail > 1 && control !== meant) return event.preventDefault()
    if (!row || !control || control.ariaDisabled === "true") return
    if (isYoung(control)) return event.preventDefault()
    const name = control.getAttribute("data-action") ?? ""
    const kind = control.getAttribute("data-kind")
    if (kind) return play(row.task, false, kind)
    const isSelecting = name === "select" || (name === "open" && selection.size > 0)
    if (isSelecting && event.shiftKey) selection.extend(row.id, shown)
    else rowActions.run(isSelecting ? "select" : name, row)
  })

  root.addEventListener("contextmenu", (event) => {
    const row = rowAt(event.target)
    const isElsewhere = event.target instanceof Element && event.target.closest("a, .details, input")
    if (!row || isElsewhere || row.isLeaving || String(getSelection())) return
    event.preventDefault()
    if (event instanceof PointerEvent && event.pointerType === "touch") return // a long press selects
    rowActions.run("more", row, { x: event.clientX, y: event.clientY })
  })

  root.addEventListener("pointerdown", ({ target, pointerType, x, y }) => {
    wasLong = false
    from = { x, y }
    const row = rowAt(target)
    if (pointerType !== "touch" || !row || (target instanceof Element && target.closest(".details"))) return
    press = setTimeout(() => {
      wasLong = true
      rowActions.run("select", row)
    }, LONG_PRESS_MS)
  })
  root.addEventListener("pointermove", ({ x, y }) => {
    if (Math.hypot(x - from.x, y - from.y) > ROLL_PX) clearTimeout(press)
  }, { passive: true })
  for (const type of ["pointerup", "pointercancel"]) {
    root.addEventListener(type, () => clearTimeout(press), { passive: true })
  }
}

/** @param {EventTarget | null} target */
const controlAt = (target) =>
  target instanceof Element ? target.closest("[data-action], a, button, input, summary") : null

/** @param {Element} control */
function isYoung(control) {
  const born = Number(control.getAttribute("data-born") ?? "-Infinity")
  return performance.now() - born < UNMEANT_MS
}
