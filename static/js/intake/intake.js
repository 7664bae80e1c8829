// @ts-check
// The box and what belongs to it: options, the look at a link, the question which entries of a list.

import { fetched } from "../base/api.js"
import { Box } from "./box.js"
import { byId, on, setText } from "../base/dom.js"
import { isClippable } from "../row/files.js"
import { Options } from "./options.js"
import { Submit } from "./submit.js"

export class Intake {
  box
  options
  submit
  /** The look at a link, loaded with the first one. @type {import("./preview.js").Preview | undefined} */
  #preview
  /** @type {import("./entries.js").EntriesDialog | undefined} */
  #entries
  /** @type {import("./optionsform.js").OptionsForm | undefined} */
  #form
  #parts
  /** @type {import("./preview.js").Info | null} */
  #info = null

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
    this.options = new Options(byId("choices", HTMLDetailsElement), i18n)
    this.submit = new Submit(this.box, this.options, api, i18n, () => !this.#asks())
    on(this.box, "change", () => this.box.link && this.#look())
    on(this.options, "open", () => this.#unfold())
    on(this.options, "outputs", async () => (await this.#unfold()).focus("outputs"))
    on(this.options, "clip", () => this.#film && parts.play(this.#film, true))
    for (const type of ["change", "removed"]) on(tasks, type, () => this.#offerPlayer())
  }

  /** The language has changed. */
  describe() {
    this.box.describe()
    this.#preview?.describe()
    this.options.describe()
    this.options.offer("format", this.#preview?.formats ?? [])
    this.#form?.make()
  }

  /**
   * Let the reader choose entries of a list.
   * @param {string} link
   * @param {(items: string) => unknown} then
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
   * Put a part of a film into the box, for the reader to send; other links come back into the box after that.
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

  async #look() {
    if (this.#preview) return
    const place = byId("preview", HTMLElement) // it has its height before anything is known
    const facts = /** @type {HTMLElement} */ (place.querySelector("[data-part=facts]"))
    place.hidden = false
    setText(facts, this.#parts.i18n.t("preview.looking"))
    const found = await fetched(import("./preview.js"), this.#parts.i18n).catch(() => undefined) // no link waits for it
    if (!found) place.hidden = true
    if (this.#preview || !found) return
    this.#preview = new found.Preview({ ...this.#parts, ...this })
    on(this.#preview, "info", (info) => this.#looked(info))
    on(this.#preview, "ask", (ask) => this.#answered(ask))
    this.#preview.look()
  }

  /** Whether it is open which entries of a list are meant, without which the request would fail: lead there. */
  #asks() {
    if (!this.#info?.entries?.length || this.options.isOfLists) return false
    this.box.say(this.#parts.i18n.t("list.ask"))
    this.#preview?.ask()
    return true
  }

  /** @param {import("./preview.js").Info | null} info */
  #looked(info) {
    this.#info = info
    this.options.offer("format", this.#preview?.formats ?? [])
    this.#offerPlayer()
  }

  /** The task of the film whose link is in the box, if a clip can be marked in it. */
  get #film() {
    const links = [this.#preview?.link ?? "", this.#info?.webpage_url ?? ""].filter(Boolean)
    return this.#parts.tasks.find(links, isClippable)
  }

  #offerPlayer() {
    this.options.offerPlayer(Boolean(this.#film))
  }

  /** @param {"this" | "all" | "choose"} ask */
  #answered(ask) {
    const first = this.#info?.entries?.[0]
    const alone = first?.url ? { url: first.url } : { playlist: true, playlist_items: "1" }
    if (ask === "this") this.submit.send(alone)
    else if (ask === "all") this.submit.send({ playlist: true })
    else {this.choose(this.#preview?.link ?? "", (items) =>
        this.submit.send({ playlist: true, playlist_items: items }))}
  }

  /** The reader unfolds the options: make their form, and ask the service what it has for it. */
  async #unfold() {
    const { OptionsForm } = await fetched(import("./optionsform.js"), this.#parts.i18n)
    const form = this.#form ??= new OptionsForm(this.options, this.#parts.i18n)
    form.ask(this.#parts.api)
    return form
  }
}
