// @ts-check
// One task on the page. What is visible in which stage is the stylesheet's business (`data-stage`).

import { fromTemplate, setAttribute, setText } from "./dom.js"
import { fileRows } from "./files.js"
import { Focus } from "./focus.js"
import { HIGHEST_PRIORITY, isFinal, titleOf, webLink } from "./task.js"
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
  #focus

  /**
   * @param {Task} task
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(task, i18n) {
    const { element, parts } = fromTemplate("card", i18n)
    this.element = element
    this.#parts = parts
    this.#i18n = i18n
    this.#thumbnail = new Thumbnail(parts.thumbnail)
    this.task = task
    this.#focus = new Focus(element)
    element.dataset.id = task.task_id
    parts.title.id = `title-${task.task_id}`
    parts.bar.setAttribute("aria-labelledby", parts.title.id)
    element.setAttribute("aria-labelledby", parts.title.id)
    this.#show(task)
  }

  /** @param {Task} task */
  update(task) {
    if (task !== this.task) this.#focus.keep(() => this.#show(task))
  }

  /**
   * Which row of the list this is, for those who cannot see where it stands.
   * @param {number} position  from 1
   * @param {number} count  of all rows; -1: nobody knows
   */
  stand(position, count) {
    setAttribute(this.element, "aria-posinset", String(position))
    setAttribute(this.element, "aria-setsize", String(count))
  }

  get height() {
    return this.element.getBoundingClientRect().height
  }

  /**
   * Why something that was asked for did not happen; until the next news.
   * @param {string} text
   */
  say(text) {
    setText(this.#parts.notice, text)
  }

  /** @param {Task} task */
  #show(task) {
    if (task.revision !== this.task.revision) this.say("")
    this.task = task
    this.element.dataset.stage = task.stage
    this.element.toggleAttribute("data-live", Boolean(task.video_info.live))
    this.#describe(task)
    this.#advance(task)
    this.#offerFiles(task)
    this.#thumbnail.show(task)
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
    // Not `disabled`: the focus would be lost with it.
    this.#parts.raise.ariaDisabled = String(task.priority >= HIGHEST_PRIORITY)
    setText(this.#parts.retry, i18n.t(`action.${task.stage === "completed" ? "again" : "retry"}`))
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
    const isOld = !isFinal(task) && Object.keys(task.files).length > 0 // a new attempt is under way
    setText(this.#parts.kept, isOld ? this.#i18n.t("card.kept") : "")
    const files = JSON.stringify([task.files, task.file_info])
    if (files === this.#files) return // the same links: leave the reader's focus on them
    this.#files = files
    this.#parts.files.replaceChildren(...fileRows(task, this.#i18n))
  }
}

/** @param {number} priority */
const signed = (priority) => (priority > 0 ? `+${priority}` : `−${-priority}`)
