// @ts-check
// The box and what belongs to it: options, the look at a link, the question which entries of a list.

import { Box } from "./box.js"
import { byId, on } from "./dom.js"
import { Options } from "./options.js"
import { Preview } from "./preview.js"
import { fetched, Problem } from "./problem.js"
import { Submit } from "./submit.js"

/** The most formats in the menu, the best first. */
const MOST_FORMATS = 60

export class Intake {
  box
  options
  submit
  preview
  #has
  /** @type {import("./entries.js").EntriesDialog | undefined} */
  #entries
  #api
  #i18n
  /** @type {import("./preview.js").Info | null} */
  #info = null

  /**
   * @param {import("./api.js").Api} api
   * @param {import("./i18n.js").I18n} i18n
   * @param {(url: string) => boolean} has  whether a finished task has this link
   */
  constructor(api, i18n, has) {
    this.#api = api
    this.#i18n = i18n
    this.box = new Box(i18n)
    this.options = new Options(byId("submit", HTMLFormElement), i18n)
    this.submit = new Submit(this.box, this.options, api, i18n, () => !this.#asks())
    this.#has = has
    this.preview = new Preview(this.box, api, i18n)
    on(this.preview, "info", (info) => this.#looked(info))
    on(this.preview, "ask", (ask) => this.#answered(ask))
    on(this.options, "open", () => this.#offer())
  }

  /** The language has changed. */
  describe() {
    this.box.describe()
    this.options.describe()
  }

  /**
   * Let the reader choose entries of a list.
   * @param {string} link
   * @param {(items: string) => unknown} then
   */
  async choose(link, then) {
    const { EntriesDialog } = await fetched(import("./entries.js"), this.#i18n)
    this.#entries ??= new EntriesDialog(this.#api, this.#i18n, this.#has)
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
    this.box.say(this.#i18n.t("clip.others"))
    this.submit.addEventListener("taken", () => this.box.add(others), { once: true })
  }

  /** Whether it is open which entries of a list are meant, without which the request would fail: lead there. */
  #asks() {
    if (!this.#info?.entries?.length || this.options.isOfLists) return false
    this.box.say(this.#i18n.t("list.ask"))
    this.preview.ask()
    return true
  }

  /** @param {import("./preview.js").Info | null} info */
  #looked(info) {
    this.#info = info
    this.options.offerFormats(
      (info?.formats ?? []).slice(0, MOST_FORMATS).map((format) => this.#described(format)),
    )
  }

  /**
   * @param {import("./preview.js").Format} format
   * @returns {[value: string, label: string]}
   */
  #described({ format_id, ext, height, vcodec, acodec, filesize, filesize_approx, note }) {
    const size = filesize ?? filesize_approx
    const codecs = [vcodec, acodec].filter((codec) => codec && codec !== "none").map((codec) =>
      codec?.split(".")[0]
    )
    const facts = [height ? `${height}p` : note, ext, ...codecs, size ? this.#i18n.format.size(size) : ""]
    return [format_id, `${format_id}: ${facts.filter(Boolean).join(" · ")}`]
  }

  /** @param {"this" | "all" | "choose"} ask */
  #answered(ask) {
    const first = this.#info?.entries?.[0]
    const alone = first?.url ? { url: first.url } : { playlist: true, playlist_items: "1" }
    if (ask === "this") this.submit.send(alone)
    else if (ask === "all") this.submit.send({ playlist: true })
    else {this.choose(this.preview.link, (items) =>
        this.submit.send({ playlist: true, playlist_items: items }))}
  }

  /** Fetch presets and cookies, only when the reader opens the options. */
  async #offer() {
    const [presets, cookies] = await Promise.all(
      ["api/presets", "api/cookies"].map((path) =>
        this.#api.get(path).catch((error) => {
          if (error instanceof Problem) return {} // a service without presets or cookies
          throw error
        })
      ),
    )
    this.options.offerPresets(presets.presets ?? {})
    this.options.offerCookies((cookies.cookies ?? []).map((/** @type {{name: string}} */ { name }) => name))
  }
}
