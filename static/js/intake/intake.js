// @ts-check
// Connects the box with its options, with the draft row of its link, and with the choice of entries of a
// list.

import { fetched } from "../base/api.js"
import { Box } from "./box.js"
import { byId, on, setText } from "../base/dom.js"
import { isClippable } from "../row/files.js"
import { hostOf } from "../tasks/task.js"
import { bindBasics } from "./basics.js"
import { Options } from "./options.js"
import { Submit } from "./submit.js"

export class Intake {
  box
  options
  submit
  /** The place of the draft row, which has its full height before anything is known of the link. */
  #place = byId("draft", HTMLElement)
  /** The draft, which is loaded with the first link. @type {import("./draft.js").Draft | undefined} */
  #draft
  /** @type {import("./entries.js").EntriesDialog | undefined} */
  #entries
  /** @type {import("./optionsform.js").OptionsForm | undefined} */
  #form
  #parts

  /**
   * @param {object} parts
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../tasks/tasks.js").Tasks} parts.tasks
   * @param {(task: import("../tasks/task.js").Task, isForClip?: boolean) => Promise<void>} parts.play
   * @param {(link: string) => unknown} parts.subscribe
   * @param {import("../base/i18n.js").I18n} parts.i18n
   */
  constructor(parts) {
    const { api, tasks, i18n } = parts
    this.#parts = parts
    this.box = new Box(i18n)
    const choices = byId("choices", HTMLElement)
    this.options = new Options(choices)
    bindBasics(/** @type {HTMLElement} */ (choices.querySelector(".three")), this.options)
    this.submit = new Submit(this.box, this.options, api, i18n, () => this.#go())
    on(this.box, "change", () => this.box.link ? this.#look() : this.options.know({}))
    on(this.box, "change", () => this.#showPlace())
    on(this.submit, "sending", (links) => this.#sending(links))
    on(this.options, "open", () => this.#unfold())
    on(this.options, "change", () => this.#sayOthers())
    this.#sayOthers()
    on(this.options, "clip", () => this.#film && parts.play(this.#film, true))
    for (const type of ["change", "removed"]) on(tasks, type, () => this.#offerPlayer())
  }

  /** Draw everything anew after a change of the language. */
  describe() {
    this.box.describe()
    this.#draft?.describe()
    this.#sayOthers()
    this.options.offer("format", this.#draft?.formats ?? [])
    this.#form?.make()
  }

  /** Follow an admin's choice of the person for whom links are added. */
  addForAnother() {
    this.#draft?.describe()
    this.#form?.ask(this.#parts.api)
  }

  /**
   * Let the reader choose entries of a list.
   * @param {string} link
   * @param {(items: string | undefined) => unknown} then gets `playlist_items`; undefined: all
   */
  async choose(link, then) {
    const { api, i18n, tasks } = this.#parts
    const { EntriesDialog } = await fetched(import("./entries.js"), i18n)
    const has = (/** @type {string} */ url) =>
      Boolean(tasks.find([url], ({ stage }) => stage === "completed"))
    this.#entries ??= new EntriesDialog(api, i18n, has)
    await this.#entries.open(link, then)
  }

  /**
   * Put a part of a film into the box for the reader to send; other links come back into the box afterwards.
   * @param {string} link
   * @param {string} start
   * @param {string} end
   */
  takeClip(link, start, end) {
    const others = this.box.links.filter((other) => other !== link).join("\n")
    this.box.fill(link)
    this.options.put({ clip_start: start, clip_end: end })
    this.box.focusGo()
    if (!others) return
    this.box.say(this.#parts.i18n.t("clip.others"))
    this.submit.addEventListener("taken", () => this.box.add(others), { once: true })
  }

  /** Take the draft row away: the sent link has its own row by now, or has come back. */
  arrived() {
    this.#place.ariaBusy = "false"
    this.#showPlace()
  }

  /** @param {string[]} links  that leave the box */
  #sending(links) {
    const isShown = !this.#place.hidden && links.includes(this.box.link)
    this.#place.ariaBusy = String(isShown)
    if (isShown) setText(this.#part("facts"), this.#parts.i18n.t("submit.sending"))
  }

  #showPlace() {
    if (this.box.link) this.#place.ariaBusy = "false"
    this.#place.hidden = !this.box.link && this.#place.ariaBusy !== "true"
  }

  async #look() {
    if (this.#draft) return
    const { i18n } = this.#parts
    const host = hostOf(/** @type {any} */ ({ url: this.box.link, video_info: {} }))
    setText(this.#part("title"), host)
    setText(this.#part("facts"), i18n.t("preview.looking"))
    // No link waits for the draft: without it the page sends links as well.
    const found = await fetched(import("./draft.js"), i18n).catch(() => undefined)
    if (!found) return setText(this.#part("facts"), "")
    if (this.#draft) return
    const sendAgain = () => this.submit.send()
    this.#draft = new found.Draft({ ...this.#parts, ...this, sendAgain })
    on(this.#draft, "info", () => this.#looked())
    this.#draft.look()
  }

  /** Do what the button in the draft row offers; return true if the whole box is to be sent. */
  #go() {
    const draft = this.#draft
    if (!draft || draft.link !== this.box.link || !draft.link) return true
    const { play, subscribe } = this.#parts
    switch (draft.verb) {
      case "download":
      case "try":
        return true
      case "play":
        draft.had && play(draft.had)
        break
      case "save":
        draft.save()
        break
      case "follow":
        subscribe(draft.link)
        break
      case "choose":
        this.choose(draft.link, (items) => this.submit.send({ playlist: true, playlist_items: items }))
        break
      case "all":
        this.submit.send({ playlist: true })
        break
      default:
        this.submit.send({ live: draft.verb })
    }
    return false
  }

  #looked() {
    this.options.offer("format", this.#draft?.formats ?? [])
    this.options.know(this.#draft?.known ?? {})
    this.#offerPlayer()
  }

  /** Return the task of the link in the box, if a clip can be marked in its film. */
  get #film() {
    const links = [this.#draft?.link ?? "", this.#draft?.info.webpage_url ?? ""].filter(Boolean)
    return this.#parts.tasks.find(links, isClippable)
  }

  #offerPlayer() {
    this.options.offerPlayer(Boolean(this.#film))
  }

  /** Write beside the button of the other options what is chosen among them. */
  async #sayOthers() {
    const chosen = /** @type {HTMLElement} */ (document.querySelector("#choices .chosen"))
    if (this.options.areOthersUsual) return setText(chosen, "")
    const { i18n } = this.#parts
    const { othersOf } = await fetched(import("./optionwords.js"), i18n)
    setText(chosen, othersOf(this.options.chosen, i18n))
  }

  /** Make the form of the options when the reader unfolds it, and ask the service for the form's choices. */
  async #unfold() {
    const { OptionsForm } = await fetched(import("./optionsform.js"), this.#parts.i18n)
    this.#form ??= new OptionsForm(this.options, this.#parts.i18n)
    this.#form.ask(this.#parts.api)
  }

  /** @param {string} name */
  #part(name) {
    return /** @type {HTMLElement} */ (this.#place.querySelector(`[data-part=${name}]`))
  }
}
