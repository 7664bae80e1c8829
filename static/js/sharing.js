// @ts-check
// The link of a file, handed on: copied, given to another app, or as a QR code shown to the camera of a phone.

import { byId, setText } from "./dom.js"
import { titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/** An address that no other device can reach. */
const LOOPBACK = /^(.*\.)?localhost$|^127\.[\d.]+$|^\[::1\]$/

export class Sharing {
  #dialog = byId("code", HTMLDialogElement)
  #player
  #i18n
  #api
  #announcer
  /** @type {Task | null} */
  #task = null
  #kind = ""

  /**
   * @param {HTMLElement} player  with the buttons
   * @param {{i18n: import("./i18n.js").I18n, api: import("./api.js").Api, announcer: import("./announcer.js").Announcer}} parts
   */
  constructor(player, { i18n, api, announcer }) {
    this.#player = player
    this.#i18n = i18n
    this.#api = api
    this.#announcer = announcer
    this.#button("copy").addEventListener("click", () => this.#copy())
    this.#button("share").addEventListener("click", () => this.#share())
    this.#button("code").addEventListener("click", () => this.#show())
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#picture("", "")) // no link is left to the next user
  }

  /**
   * Show the buttons for what is possible here with this file of the task.
   * @param {Task} task
   * @param {string} kind  "": there is none yet
   */
  offer(task, kind) {
    this.#task = task
    this.#kind = kind
    this.#button("copy").hidden = !kind || !navigator.clipboard
    this.#button("share").hidden = !kind || !navigator.share || !matchMedia("(pointer: coarse)").matches
    this.#button("code").hidden = !kind || LOOPBACK.test(location.hostname)
  }

  clear() {
    this.#task = null
    this.#dialog.close()
    this.#say("")
  }

  get #link() {
    return webLink(this.#task?.files[this.#kind])?.href ?? ""
  }

  async #copy() {
    await navigator.clipboard.writeText(this.#link)
    this.#announcer.say(this.#i18n.t("announce.copied"))
    this.#say(this.#i18n.t("announce.copied"))
  }

  #share() {
    const title = this.#task ? titleOf(this.#task) : ""
    navigator.share({ title, url: this.#link }).catch(() => {}) // the reader has cancelled
  }

  #show() {
    const path = `api/tasks/${this.#task?.task_id}/files/${this.#kind}/qr.svg`
    this.#picture(this.#api.url(path).href, this.#link)
    this.#dialog.showModal()
  }

  /**
   * @param {string} source
   * @param {string} link
   */
  #picture(source, link) {
    const place = /** @type {HTMLElement} */ (this.#dialog.querySelector("[data-part=picture]"))
    const picture = Object.assign(new Image(), { src: source, alt: this.#i18n.t("player.code") })
    place.replaceChildren(...(source ? [picture] : []))
    setText(/** @type {HTMLElement} */ (this.#dialog.querySelector("[data-part=link]")), link)
  }

  /** @param {string} text */
  #say(text) {
    setText(/** @type {HTMLElement} */ (this.#player.querySelector("[data-part=copied]")), text)
  }

  /** @param {string} name */
  #button(name) {
    return /** @type {HTMLElement} */ (this.#player.querySelector(`[data-part=${name}]`))
  }
}
