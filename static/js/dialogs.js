// @ts-check
// Dialogs of the page; the code of some is fetched when they are used for the first time.

import { fetched } from "./problem.js"

/** Close all: the session has ended, and what they show is not for the next user. */
export function closeDialogs() {
  for (const element of document.querySelectorAll("dialog")) element.close()
}

/**
 * The list of keys, which is fetched when somebody asks for it.
 * @param {import("./i18n.js").I18n} i18n
 */
export async function showKeys(i18n) {
  const { listKeys } = await fetched(import("./keylist.js"), i18n)
  listKeys(i18n)
}

/** The player, which is fetched when it is used for the first time. */
export class PlayerDialog {
  #parts
  /** @type {import("./player.js").Player | undefined} */
  #player

  /** @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./announcer.js").Announcer, intake: import("./intake.js").Intake}} parts */
  constructor(parts) {
    this.#parts = parts
  }

  /**
   * @param {import("./task.js").Task} task
   * @param {boolean} [isForClip]
   */
  async open(task, isForClip) {
    const { Player } = await fetched(import("./player.js"), this.#parts.i18n)
    this.#player ??= new Player(this.#parts)
    await this.#player.open(task, isForClip)
  }
}
