// @ts-check
// Dialogs. The browser's Back closes the dialog that was opened last: on a phone people expect this.

/** @typedef {{dialog: HTMLDialogElement, stepBack: () => boolean}} Opened */

/** The open dialogs that have an entry in the browser's history, the last one on top. @type {Opened[]} */
const opened = []
/** How many history entries are about to be left, of dialogs that were closed in another way. */
let leaving = 0
/** How many history entries have to be made once those are left. */
let entering = 0

/**
 * Show a dialog.
 * @param {HTMLDialogElement} dialog
 * @param {() => boolean} [stepBack]  called by the way back: true if it led a step back within the dialog, which stays
 */
export function openDialog(dialog, stepBack = () => false) {
  dialog.showModal()
  const own = { dialog, stepBack }
  opened.push(own)
  enter()
  const closed = () => {
    if (dialog.matches(":modal")) return // the dialog was opened again meanwhile
    dialog.removeEventListener("close", closed)
    const at = opened.indexOf(own)
    if (at < 0) return // it was closed by the browser's Back
    opened.splice(at, 1)
    leave()
  }
  dialog.addEventListener("close", closed)
}

/** Close all dialogs when the session ends: what they show is not for the next user. */
export function closeDialogs() {
  for (const element of document.querySelectorAll("dialog")) element.close()
}

function enter() {
  if (leaving) entering += 1
  else history.pushState(null, "")
}

/**
 * Leave one history entry after the other: browsers carry out only one of several calls of `history.back`.
 */
function leave() {
  if (!leaving++) setTimeout(() => history.go(-leaving))
}

addEventListener("popstate", () => {
  if (leaving) {
    leaving = 0
    for (; entering; entering -= 1) history.pushState(null, "")
    return
  }
  const last = opened.at(-1)
  if (!last) return
  if (last.stepBack()) return enter()
  opened.pop()
  last.dialog.close()
})
