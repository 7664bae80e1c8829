// @ts-check
// What opens above the page: the player, the log, and the question before a deletion.

import { Problem } from "./problem.js"
import { byId, setText } from "./dom.js"
import { playerFor } from "./files.js"
import { titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/** @param {string} id */
function dialog(id) {
  const element = byId(id, HTMLDialogElement)
  /** @param {string} name */
  const part = (name) => /** @type {HTMLElement} */ (element.querySelector(`[data-part=${name}]`))
  element.addEventListener("click", (event) => event.target === element && element.close()) // beside it
  element.addEventListener(
    "close",
    () => ["title", "text", "stage"].forEach((name) => part(name)?.replaceChildren()),
  )
  return { element, part }
}

/** The session has ended: what is open is not for the reader any more. */
export function closeDialogs() {
  for (const element of document.querySelectorAll("dialog")) element.close()
}

export class PlayerDialog {
  #dialog = dialog("player")

  /**
   * @param {Task} task
   * @param {string} kind
   */
  open(task, kind) {
    const link = webLink(task.files[kind])
    const player = playerFor(kind, task.file_info?.[kind]?.type)
    if (!link || !player) return
    link.searchParams.set("inline", "1")
    Object.assign(player, { controls: true, autoplay: true, src: link.href })
    setText(this.#dialog.part("title"), titleOf(task))
    this.#dialog.part("stage").replaceChildren(player)
    this.#dialog.element.showModal()
    player.focus()
  }
}

export class LogDialog {
  #dialog = dialog("log")
  #api
  #id = ""

  /** @param {import("./api.js").Api} api */
  constructor(api) {
    this.#api = api
    this.#dialog.part("reload").addEventListener("click", () => this.#load())
  }

  /** @param {Task} task */
  async open(task) {
    this.#id = task.task_id
    setText(this.#dialog.part("title"), titleOf(task))
    setText(this.#dialog.part("text"), "")
    this.#dialog.element.showModal()
    await this.#load()
  }

  async #load() {
    const [id, text] = [this.#id, this.#dialog.part("text")]
    const log = await this.#api.text(`api/tasks/${id}/log`).catch((error) => {
      if (error instanceof Problem) return error.message
      throw error
    })
    if (id !== this.#id || !this.#dialog.element.open) return // closed, or another log was opened meanwhile
    setText(text, log)
    text.toggleAttribute("data-empty", !log)
    text.scrollTop = text.scrollHeight // the last lines say what happened
  }
}

export class ConfirmDialog {
  #dialog = dialog("confirm")

  /**
   * Whether the reader says yes to removing this task.
   * @param {Task} task
   * @returns {Promise<boolean>}
   */
  ask(task) {
    const { element, part } = this.#dialog
    setText(part("title"), titleOf(task))
    element.returnValue = ""
    element.showModal()
    return new Promise((resolve) =>
      element.addEventListener("close", () => resolve(element.returnValue === "yes"), { once: true })
    )
  }
}
