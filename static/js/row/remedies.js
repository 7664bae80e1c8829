// @ts-check
// Remedies that ask the reader something first: which entries of a list, or which cookies.

import { hostOf } from "../tasks/task.js"

/** @typedef {import("./row.js").Row} Row */

export class Remedies {
  #intake
  #requests
  #undo
  #menu
  #settings
  #api

  /**
   * @param {object} parts
   * @param {import("../intake/intake.js").Intake} parts.intake
   * @param {import("./requests.js").TaskRequests} parts.requests
   * @param {import("./undo.js").Undo} parts.undo
   * @param {import("../header/menu.js").Menu} parts.menu
   * @param {import("../settings/settings.js").Settings} parts.settings
   * @param {import("../base/api.js").Api} parts.api
   */
  constructor({ intake, requests, undo, menu, settings, api }) {
    this.#intake = intake
    this.#requests = requests
    this.#undo = undo
    this.#menu = menu
    this.#settings = settings
    this.#api = api
  }

  /**
   * Let the reader choose entries. They become a new list, in place of the task that failed because nothing
   * was chosen.
   * @param {Row} row
   */
  async choose(row) {
    const { url, owner } = row.task
    await this.#intake.choose(url, async (items) => {
      await this.#intake.submit.sendOne({ url, playlist: true, playlist_items: items }, owner)
      this.#undo.delete(row.id)
    })
  }

  /**
   * Retry with the only stored cookies. If there are several, the reader chooses; if there are none, the
   * settings open to store some.
   * @param {Row} row
   */
  async useCookies(row) {
    const { cookies } = await this.#api.get("api/cookies")
    const theirs = cookies.filter((/** @type {{owner?: string}} */ { owner }) => owner === row.task.owner)
    const names = theirs.map((/** @type {{name: string}} */ { name }) => name)
    const use = (/** @type {string} */ name) =>
      this.#requests.run("remedy.use_cookies", row.task, { cookies: name })
    if (!names.length) return (await this.#settings.open()).askForCookies(hostOf(row.task))
    if (names.length === 1) return await use(names[0])
    const items = names.map((/** @type {string} */ name) => ({ name, text: name, icon: "remedy" }))
    this.#menu.open(row.moreButton, items, use)
  }
}
