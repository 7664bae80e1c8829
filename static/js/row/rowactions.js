// @ts-check
// Carries out the actions that the reader chooses on a row, by a button, from the menu or by a key.

import { ACTIONS, iconOf, menuOf, ofKey, textOf } from "./actions.js"
import { fetched } from "../base/api.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("./row.js").Row} Row */
/** @typedef {import("../header/menu.js").Point} Point */

export class RowActions {
  #parts
  /**
   * Actions that the page does without a request.
   * @type {Record<string, (row: Row, at?: Point) => unknown>}
   */
  #own = {
    "remedy.use_cookies": async (row) => (await this.#remedies()).useCookies(row),
    choose: async (row) => (await this.#remedies()).choose(row),
    cancel: (row) => this.#cancel(row),
    copy: ({ task }) => this.#copy(task),
    delete: (row) => this.#delete(row),
    log: async (row) => (await this.#parts.opened.open(row))?.openLog(),
    more: (row, at) => this.#more(row, at),
    open: (row) => this.#parts.opened.toggle(row),
    play: ({ task }) => this.#parts.play(task),
    retry_entries: ({ id }) => this.#parts.requests.runAll({ action: "retry", playlist_id: id }),
    save: (row) => row.save(),
    send: ({ task }) => this.#parts.send(task),
    save_entries: (row) => row.save(),
    select: ({ id }) => this.#parts.selection.toggle(id),
    undo: (row) => this.#takeBack(row),
  }

  /**
   * @param {object} parts
   * @param {import("./requests.js").TaskRequests} parts.requests
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("./opened.js").OpenedRows} parts.opened
   * @param {import("../header/menu.js").Menu} parts.menu
   * @param {(task: Task) => Promise<void>} parts.play
   * @param {(task: Task) => Promise<void>} parts.send
   * @param {import("../notices/news.js").Announcer} parts.announcer
   * @param {import("../list/selection.js").Selection} parts.selection
   * @param {import("../intake/intake.js").Intake} parts.intake
   * @param {import("../settings/settings.js").Settings} parts.settings
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    this.#parts = parts
  }

  /**
   * @param {string} name
   * @param {Row} row
   * @param {Point} [at]  of the pointer
   */
  async run(name, row, at) {
    const own = this.#own[name]
    if (own) await own(row, at)
    else if (name in ACTIONS) await this.#parts.requests.run(name, row.task)
  }

  /**
   * Do the action of a key on this row; return false if the key has none.
   * @param {string} key
   * @param {Row} row
   */
  press(key, row) {
    const name = row.isLeaving ? (key === ACTIONS.undo.key ? "undo" : undefined) : ofKey(key, row.task)
    if (name) this.run(name, row)
    return name !== undefined
  }

  async #remedies() {
    const { Remedies } = await fetched(import("./remedies.js"), this.#parts.i18n)
    return new Remedies(this.#parts)
  }

  /** @param {Row} row */
  async #cancel(row) {
    const wasPaused = row.task.stage === "paused"
    if (!(await this.#parts.requests.run("cancel", row.task))) return
    this.#parts.undo.cancelled(row.id, wasPaused)
    if (row.hasFocus) row.focus("undo")
  }

  /** @param {Row} row */
  #delete(row) {
    this.#parts.opened.close(row.id, row)
    this.#parts.undo.delete(row.id)
    row.focus("undo")
  }

  /** @param {Row} row */
  async #takeBack(row) {
    row.focus("")
    await this.#parts.undo.takeBack(row.task)
  }

  /** @param {Task} task */
  async #copy(task) {
    await navigator.clipboard.writeText(task.url)
    this.#parts.announcer.say(this.#parts.i18n.t("announce.copied"))
  }

  /**
   * @param {Row} row
   * @param {Point} [at]
   */
  #more(row, at) {
    const items = menuOf(row.task).map((name) => ({
      name,
      text: textOf(name, row.task, this.#parts.i18n),
      icon: iconOf(name),
    }))
    this.#parts.menu.open(row.moreButton, items, (name) => this.run(name, row), at)
  }
}

// Turns clicks and touches on the list into actions on rows.

/** A press on a control that has replaced another one this recently is ignored: it was meant for the other. */
const UNMEANT_MS = 350
/** A touch of this length selects, and the finger may roll this far meanwhile. */
const LONG_PRESS_MS = 500
const ROLL_PX = 10

/**
 * @param {HTMLElement} root
 * @param {import("../list/rows.js").Rows} rows
 * @param {import("./rowactions.js").RowActions} rowActions
 * @param {{selection: import("../list/selection.js").Selection, shown: import("../list/shown.js").ShownList, play: (task: import("../tasks/task.js").Task, isForClip: boolean, kind: string) => unknown}} parts
 */
export function listen(root, rows, rowActions, { selection, shown, play }) {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let press
  let wasLong = false
  let from = { x: 0, y: 0 }
  /**
   * The control that the first click of a double click has hit: the second click is not meant for its
   * successor.
   */
  /** @type {Element | null} */
  let meant = null
  const rowAt = (/** @type {EventTarget | null} */ target) =>
    rows.row(target instanceof Element ? (target.closest(".row")?.getAttribute("data-id") ?? "") : "")

  document.addEventListener("click", (event) => {
    if (event.detail <= 1) meant = controlAt(event.target)
    else if (controlAt(event.target)?.matches("a")) event.preventDefault() // a double click saves once
  }, true)
  root.addEventListener("click", (event) => {
    const [control, row] = [controlAt(event.target), rowAt(event.target)]
    // The click comes from the finger that selected the row by a long touch.
    if (wasLong && event.detail) return event.preventDefault()
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
    // A long touch selects, so it opens no menu.
    if (event instanceof PointerEvent && event.pointerType === "touch") return
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
