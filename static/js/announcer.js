// @ts-check
// Tells screen readers which tasks have ended: gathered for some seconds, and many of them as a number.

import { isFinal, titleOf } from "./task.js"

const GATHER_MS = 3_000
const MOST_AT_ONCE = 3

export class Announcer {
  #region
  #i18n
  /** @type {string[]} */
  #news = []
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer

  /**
   * @param {HTMLElement} region  aria-live
   * @param {import("./i18n.js").I18n} i18n
   */
  constructor(region, i18n) {
    this.#region = region
    this.#i18n = i18n
  }

  /** @param {import("./tasks.js").Change} change */
  changed({ task, before }) {
    if (before && before.stage !== task.stage && isFinal(task)) this.say(`${titleOf(task)}: ${task.message}`)
  }

  /** @param {string} text */
  say(text) {
    this.#news.push(text)
    this.#timer ??= setTimeout(() => this.#speak(), GATHER_MS)
  }

  /** Drop what has not been said yet, and clear what was said last. */
  hush() {
    clearTimeout(this.#timer)
    this.#news = []
    this.#speak()
  }

  #speak() {
    const many = this.#news.length > MOST_AT_ONCE
    const text = many ? this.#i18n.t("announce.many", { n: this.#news.length }) : this.#news.join(" ")
    this.#region.textContent = text
    this.#news = []
    this.#timer = undefined
  }
}
