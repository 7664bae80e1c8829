// @ts-check
// Puts the finished files of a task into the library, in the layout that its request names or the reader
// chooses here.

import { Problem } from "../base/api.js"
import { setText } from "../base/dom.js"
import { button, make } from "../base/elements.js"
import { LAYOUTS } from "../base/library.js"
import { recall, remember } from "../base/preferences.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/** The name under which this browser stores the layout of the last single task. */
const PLACED_AS = "library.layout"

export class Placing {
  element = make("div", { className: "placing" })
  #said = make("span", { className: "problem", role: "status" })
  #layout = make("select")
  #page

  /**
   * @param {Task} task
   * @param {{api: import("../base/api.js").Api, i18n: import("../base/i18n.js").I18n}} page
   */
  constructor(task, page) {
    this.#page = page
    const t = page.i18n.t.bind(page.i18n)
    this.#layout.append(...Object.entries(LAYOUTS).map(([layout, key]) => new Option(t(key), layout)))
    this.#layout.value = recall(PLACED_AS, "video" in task.files ? "movies" : "music")
    const put = button(t("library.place"), () => this.#place(task))
    const again = button(t("library.place_again"), () => this.#place(task))
    this.element.append(
      ...(task.library ? [again] : [make("label", {}, t("library.as"), " ", this.#layout), put]),
      this.#said,
    )
  }

  /** @param {Task} task */
  async #place({ task_id, library }) {
    const layout = this.#layout.value
    const body = library ? undefined : { library: { layout } }
    try {
      await this.#page.api.send("POST", `api/tasks/${task_id}/place`, body)
      if (!library) remember(PLACED_AS, layout)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      setText(this.#said, error.message)
    }
  }
}
