// @ts-check
// The dialog that sends a finished file to this device, to a phone, or into the library.

import { Problem } from "../base/api.js"
import { openDialog } from "../base/dialogs.js"
import { setText } from "../base/dom.js"
import { button, iconButton, make } from "../base/elements.js"
import { hasLibrary } from "../base/library.js"
import { recall, remember } from "../base/preferences.js"
import { placeOf } from "./facts.js"
import { kindName, kindsOf, saveLink } from "./files.js"
import { madeLinks } from "./links.js"
import { Placing } from "./placing.js"
import { titleOf, webLink } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/** An address that no other device can reach. */
const LOOPBACK = /^(.*\.)?localhost$|^127\.[\d.]+$|^\[::1\]$/
const TARGETS = ["phone", "device", "library"]
const REMEMBERED = "send"
const LINK_SECONDS = 600

export class SendTo {
  #parts
  #header = make("header")
  #title = make("h2", { id: "send-title" })
  #choices = make("div", { className: "chips", role: "radiogroup", "aria-labelledby": "send-title" })
  #kinds = make("select", {})
  #body = make("div", { className: "send-body" })
  #dialog
  /** @type {Task | null} */
  #task = null
  /** The number of the last request: the answer to an earlier one is not shown. */
  #asked = 0

  /** @param {{i18n: import("../base/i18n.js").I18n, api: import("../base/api.js").Api, announcer: {say: (text: string) => unknown}}} parts */
  constructor(parts) {
    this.#parts = parts
    this.#dialog = make("dialog", { id: "send", className: "sheet send", "aria-labelledby": "send-title" })
    this.#dialog.append(this.#header, this.#choices, this.#kinds, this.#body)
    this.#dialog.addEventListener("click", ({ target }) => target === this.#dialog && this.#dialog.close())
    this.#dialog.addEventListener("close", () => this.#clear()) // the next user must not see the link
    this.#choices.addEventListener("change", () => {
      remember(REMEMBERED, this.#target)
      this.#show()
    })
    this.#kinds.addEventListener("change", () => this.#show())
    document.body.append(this.#dialog)
  }

  /**
   * @param {Task} task
   * @param {string} [kind]  which of its files; "" the best
   */
  async open(task, kind = "") {
    const { i18n, api } = this.#parts
    const targets = await hasLibrary(api) ? TARGETS : TARGETS.filter((target) => target !== "library")
    const kinds = kindsOf(task)
    const recalled = recall(REMEMBERED, "")
    const last = targets.includes(recalled) ? recalled : targets[0]
    this.#task = task
    const close = iconButton("cancel", i18n.t("dialog.close"), () => this.#dialog.close())
    setText(this.#title, i18n.t("send.title"))
    this.#header.replaceChildren(this.#title, close)
    this.#choices.replaceChildren(...targets.map((value) => {
      const choice = make("input", { type: "radio", name: "target", value, checked: value === last })
      return make("label", {}, choice, make("span", {}, i18n.t(`send.${value}`)))
    }))
    const named = (/** @type {string} */ name) => name.charAt(0).toLocaleUpperCase() + name.slice(1)
    this.#kinds.replaceChildren(...kinds.map((each) => new Option(named(kindName(each, i18n)), each)))
    this.#kinds.ariaLabel = i18n.t("player.kinds")
    this.#kinds.value = kinds.includes(kind) ? kind : kinds[0]
    this.#kinds.hidden = kinds.length < 2
    this.#show()
    openDialog(this.#dialog)
    this.#chosen?.focus()
  }

  #clear() {
    this.#asked += 1
    this.#task = null
    this.#body.replaceChildren()
  }

  /** @returns {HTMLInputElement | null} */
  get #chosen() {
    return this.#choices.querySelector("input:checked")
  }

  get #target() {
    return this.#chosen?.value ?? TARGETS[0]
  }

  async #show() {
    const task = /** @type {Task} */ (this.#task)
    const asked = ++this.#asked
    const target = this.#target
    this.#kinds.disabled = target === "library" // all files of a task go into the library together
    this.#body.replaceChildren()
    try {
      const made = target === "phone"
        ? await this.#phone(task)
        : target === "device"
        ? this.#device(task)
        : this.#library(task)
      if (asked === this.#asked) this.#body.replaceChildren(...made)
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (asked === this.#asked) this.#body.replaceChildren(make("p", { role: "alert" }, error.message))
    }
  }

  /** @param {Task} task */
  #device(task) {
    const link = webLink(task.files[this.#kinds.value])?.href ?? ""
    return [
      make(
        "p",
        { className: "send-acts" },
        saveLink(task, this.#kinds.value, this.#parts.i18n),
        ...this.#copy(link),
      ),
    ]
  }

  /**
   * Make a link that opens only this file, for a while, and needs no log-in.
   * @param {Task} task
   * @returns {Promise<HTMLElement[]>}
   */
  async #phone(task) {
    const { i18n, api } = this.#parts
    if (LOOPBACK.test(location.hostname)) {
      return [make("p", {}, i18n.t("send.loopback", { host: location.hostname }))]
    }
    const wanted = { kind: this.#kinds.value, expires_in: LINK_SECONDS }
    const { id, url, expires_at } = await api.send("POST", `api/tasks/${task.task_id}/links`, wanted)
    madeLinks.dispatchEvent(new Event(task.task_id))
    const time = i18n.format.moment(new Date(expires_at))
    const source = api.url(`api/links/${id}/qr.svg`).href
    const title = titleOf(task)
    // The reader may cancel the sharing.
    const share = button(i18n.t("send.share"), () => navigator.share({ title, url }).catch(() => {}))
    const isShared = "share" in navigator && matchMedia("(pointer: coarse)").matches
    return [
      make("img", { src: source, alt: i18n.t("send.code") }),
      make("p", { className: "lead" }, i18n.t("send.scan", { time })),
      make("p", { className: "lead", dir: "ltr" }, url),
      make("p", { className: "send-acts" }, ...this.#copy(url), ...(isShared ? [share] : [])),
    ]
  }

  /**
   * Offer the library, also as a podcast, which is one of its layouts.
   * @param {Task} task
   */
  #library(task) {
    const said = task.library ? placeOf(task.library, this.#parts.i18n) : ""
    return [make("p", { className: "lead" }, said), new Placing(task, this.#parts).element]
  }

  /** @param {string} link */
  #copy(link) {
    const { i18n, announcer } = this.#parts
    if (!navigator.clipboard) return [] // browsers offer it over HTTPS only
    const copied = make("span", { className: "lead" })
    const copy = async () => {
      await navigator.clipboard.writeText(link)
      announcer.say(i18n.t("announce.copied"))
      setText(copied, i18n.t("announce.copied"))
    }
    return [button(i18n.t("send.copy"), copy), copied]
  }
}
