// @ts-check
// The player: a film with its subtitles or the sound with its cover, over the page or small in its corner.

import { byId, setText } from "./dom.js"
import { kindName, playableKinds, playerFor, saveLink } from "./files.js"
import { Sharing } from "./sharing.js"
import { coverOf, subtitle } from "./stage.js"
import { isFinal, titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

export class Player {
  #dialog = byId("player", HTMLDialogElement)
  #i18n
  #api
  #announcer
  #sharing
  /** @type {HTMLMediaElement | null} */
  #media = null
  /** @type {Task | null} */
  #task = null

  /** @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./announcer.js").Announcer}} parts */
  constructor(parts) {
    this.#i18n = parts.i18n
    this.#api = parts.api
    this.#announcer = parts.announcer
    this.#sharing = new Sharing(this.#dialog, parts)
    this.#dialog.addEventListener("close", () => this.#dialog.open || this.#empty())
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("keydown", ({ key }) => key === "Escape" && this.#dialog.close())
    this.#part("corner").addEventListener("click", () => this.#move(!this.#isSmall))
    this.#part("kinds").addEventListener(
      "change",
      ({ target }) => target instanceof HTMLInputElement && this.#play(target.value),
    )
  }

  /** @param {Task} task */
  async open(task) {
    const kinds = playableKinds(task)
    if (!kinds.length && !(await this.#comes(task))) {
      return this.#announcer.say(this.#i18n.t("player.not_now"))
    }
    this.#empty()
    this.#task = task
    setText(this.#part("title"), titleOf(task))
    this.#part("kinds").replaceChildren(...(kinds.length > 1 ? kinds.map((kind) => this.#choice(kind)) : []))
    this.#play(kinds[0] ?? "")
    if (!this.#dialog.open) this.#dialog.showModal()
    this.#media?.focus()
  }

  get #isSmall() {
    return this.#dialog.hasAttribute("data-small")
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#dialog.querySelector(`[data-part=${name}]`))
  }

  /**
   * Whether it can be watched while it comes.
   * @param {Task} task
   */
  async #comes(task) {
    if (isFinal(task)) return false
    const answer = await fetch(this.#streamOf(task), { method: "HEAD" }).catch(() => null)
    return answer?.ok ?? false
  }

  /** @param {Task} task */
  #streamOf(task) {
    return this.#api.url(`api/tasks/${task.task_id}/stream`)
  }

  /** @param {string} kind  "": what is there of a film that still comes */
  #play(kind) {
    const task = this.#task
    const media = task && (playerFor(kind || "video", task.file_info?.[kind]?.type))
    const link = task && (kind ? webLink(task.files[kind]) : this.#streamOf(task))
    if (!media || !link) return
    const at = this.#media?.currentTime ?? 0
    this.#media = media
    this.#sharing.offer(task, kind)
    link.searchParams.set("inline", "1")
    Object.assign(media, { controls: true, autoplay: true, src: link.href })
    if (at) media.addEventListener("loadedmetadata", () => (media.currentTime = at), { once: true })
    this.#part("stage").replaceChildren(
      ...(media instanceof HTMLVideoElement ? [] : coverOf(task)),
      media,
    )
    this.#part("save").replaceChildren(...(kind ? [saveLink(task, kind, this.#i18n)] : []))
    if (media instanceof HTMLVideoElement) subtitle(task, media, this.#api, this.#i18n)
  }

  /** @param {string} kind */
  #choice(kind) {
    const [label, words] = [document.createElement("label"), document.createElement("span")]
    words.textContent = kindName(kind, this.#i18n)
    const choice = Object.assign(document.createElement("input"), {
      type: "radio",
      name: "kind",
      value: kind,
    })
    choice.checked = kind === playableKinds(/** @type {Task} */ (this.#task))[0]
    label.append(choice, words)
    return label
  }

  /** @param {boolean} isSmall  in the corner, with the page to be used beside it */
  #move(isSmall) {
    const corner = this.#part("corner")
    this.#dialog.close()
    this.#dialog.toggleAttribute("data-small", isSmall)
    if (isSmall) this.#dialog.show()
    else this.#dialog.showModal()
    corner.setAttribute("aria-pressed", String(isSmall))
    corner.focus()
  }

  #empty() {
    this.#media?.pause()
    this.#media = this.#task = null
    this.#sharing.clear()
    this.#dialog.removeAttribute("data-small")
    this.#part("corner").setAttribute("aria-pressed", "false")
    for (const name of ["title", "kinds", "stage", "save"]) this.#part(name).replaceChildren()
  }
}
