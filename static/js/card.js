// @ts-check
// One task on the page. What is visible in which stage is the stylesheet's business (`data-stage`).

import { fromTemplate, setText } from "./dom.js"
import { fileRows } from "./files.js"
import { HIGHEST_PRIORITY, titleOf, webLink } from "./task.js"
import { Thumbnail } from "./thumbnail.js"

/** @typedef {import("./task.js").Task} Task */

export class Card {
  element
  /** @type {Task} */
  task
  #i18n
  #parts
  #thumbnail
  #files = ""

  /**
   * @param {Task} task
   * @param {import("./i18n.js").I18n} i18n
   * @param {import("./api.js").Api} api
   */
  constructor(task, i18n, api) {
    const { element, parts } = fromTemplate("card", i18n)
    this.element = element
    this.#parts = parts
    this.#i18n = i18n
    this.#thumbnail = new Thumbnail(parts.thumbnail, api)
    this.task = task
    element.dataset.id = task.task_id
    parts.title.id = `title-${task.task_id}`
    parts.bar.setAttribute("aria-labelledby", parts.title.id)
    element.setAttribute("aria-labelledby", parts.title.id)
    this.update(task)
  }

  /** @param {Task} task */
  update(task) {
    const focused = this.element.contains(document.activeElement) ? document.activeElement : null
    if (task.revision !== this.task.revision) this.say("")
    this.task = task
    this.element.dataset.stage = task.stage
    this.element.toggleAttribute("data-live", Boolean(task.video_info.live))
    this.#describe(task)
    this.#advance(task)
    this.#offerFiles(task)
    this.#thumbnail.show(task)
    // The stage took the focused button away: the keyboard goes on from this card, not from the top.
    if (focused && !(focused.isConnected && focused.checkVisibility())) this.focus()
  }

  /**
   * Why something that was asked for did not happen; until the next news.
   * @param {string} text
   */
  say(text) {
    setText(this.#parts.notice, text)
  }

  focus() {
    const buttons = [...this.element.querySelectorAll("button, a")]
    const first = buttons.find((button) => button.checkVisibility())
    if (first instanceof HTMLElement) first.focus({ preventScroll: true })
  }

  /** @param {Task} task */
  #describe(task) {
    const i18n = this.#i18n
    const { uploader, duration, height, webpage_url } = task.video_info
    const link = webLink(webpage_url)
    const created = new Date(task.created_at)
    setText(this.#parts.title, titleOf(task))
    setText(this.#parts.uploader, uploader ?? "")
    setText(this.#parts.duration, duration ? i18n.format.clock(duration) : "")
    setText(this.#parts.height, height ? `${height}p` : "")
    setText(this.#parts.source, link ? link.hostname : "")
    setText(this.#parts.created, i18n.format.moment(created))
    setText(this.#parts.priority, task.priority ? i18n.t("card.priority", { n: signed(task.priority) }) : "")
    this.#parts.created.dateTime = task.created_at
    this.#parts.created.title = created.toLocaleString(i18n.language)
    this.#parts.raise.disabled = task.priority >= HIGHEST_PRIORITY
    if (link) this.#parts.source.href = link.href
    else this.#parts.source.removeAttribute("href")
  }

  /** @param {Task} task */
  #advance(task) {
    this.#parts.bar.value = task.progress
    setText(this.#parts.message, task.message)
    setText(this.#parts.percent, `${task.progress}%`)
    setText(this.#parts.numbers, this.#numbers(task).join(" · "))
    setText(this.#parts.error, task.error ?? "")
    setText(this.#parts.hint, task.hint ?? "")
  }

  /** @param {Task} task */
  #numbers({ downloaded_bytes: done, total_bytes: total, speed, eta }) {
    const format = this.#i18n.format
    const texts = []
    if (speed !== undefined) texts.push(format.speed(speed))
    if (eta !== undefined) texts.push(this.#i18n.t("card.eta", { time: format.clock(eta) }))
    if (done !== undefined && total !== undefined) texts.push(`${format.size(done)} / ${format.size(total)}`)
    else if (done !== undefined || total !== undefined) texts.push(format.size(done ?? total ?? 0))
    return texts
  }

  /** @param {Task} task */
  #offerFiles(task) {
    const files = JSON.stringify([task.files, task.file_info])
    if (files === this.#files) return // the same links: leave the reader's focus on them
    this.#files = files
    this.#parts.files.replaceChildren(...fileRows(task, this.#i18n))
  }
}

/** @param {number} priority */
const signed = (priority) => (priority > 0 ? `+${priority}` : `−${-priority}`)
