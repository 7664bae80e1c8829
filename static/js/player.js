// @ts-check
// The player: a film with its subtitles or the sound with its cover, over the page or small in its corner.

import { Clipper } from "./clipper.js"
import { byId, setText } from "./dom.js"
import { playableKinds, playerFor, saveLink } from "./files.js"
import { Sharing } from "./sharing.js"
import { choiceOf, coverOf, subtitle } from "./stage.js"
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
  #clipper

  /** @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./announcer.js").Announcer, intake: import("./intake.js").Intake}} parts */
  constructor(parts) {
    this.#i18n = parts.i18n
    this.#api = parts.api
    this.#announcer = parts.announcer
    this.#sharing = new Sharing(this.#dialog, parts)
    this.#dialog.addEventListener("close", () => this.#dialog.open || this.#empty())
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("keydown", ({ key }) => key === "Escape" && this.#dialog.close())
    this.#part("corner").addEventListener("click", () => this.#move(!this.#isSmall))
    const clip = /** @type {HTMLDetailsElement} */ (this.#part("clip"))
    this.#clipper = new Clipper(clip, parts.i18n, (start, end) => {
      const link = this.#task?.url ?? ""
      this.#dialog.close()
      parts.intake.takeClip(link, start, end)
    })
    this.#part("kinds").addEventListener(
      "change",
      ({ target }) => target instanceof HTMLInputElement && this.#play(target.value),
    )
  }

  /**
   * @param {Task} task
   * @param {boolean} [isForClip]  the reader wants to mark a part of it
   */
  async open(task, isForClip = false) {
    const kinds = playableKinds(task)
    if (!kinds.length && !(await this.#comes(task))) {
      return this.#announcer.say(this.#i18n.t("player.not_now"))
    }
    this.#empty()
    this.#task = task
    setText(this.#part("title"), titleOf(task))
    this.#part("kinds").replaceChildren(
      ...(kinds.length > 1 ? kinds.map((kind) => choiceOf(kind, kind === kinds[0], this.#i18n)) : []),
    )
    this.#clipper.begin(task, isForClip)
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
   * Whether the task can be watched while it downloads.
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

  /** @param {string} kind  "": the part of a film that has been downloaded so far */
  #play(kind) {
    const task = this.#task
    const media = task && (playerFor(kind || "video", task.file_info?.[kind]?.type))
    const link = task && (kind ? webLink(task.files[kind]) : this.#streamOf(task))
    if (!media || !link) return
    const at = this.#media?.currentTime ?? 0
    this.#media = media
    this.#sharing.offer(task, kind)
    this.#clipper.follow(media)
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
