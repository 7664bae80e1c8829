// @ts-check
// Numbers and times as a reader of one language writes them.

import { setText } from "./dom.js"
import { recall, remember } from "./preferences.js"

/**
 * Two clocks that differ by less count as equal: a `Date` header is late by the time that its answer travels.
 */
const ALIKE_MS = 60_000
const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"]

export class Format {
  #language
  #time
  #date
  #month
  /** @type {Map<string, Intl.NumberFormat>} */
  #numbers = new Map()

  /** @param {string} language */
  constructor(language) {
    this.#language = language
    this.#time = new Intl.DateTimeFormat(language, { timeStyle: "short" })
    this.#date = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" })
    this.#month = new Intl.DateTimeFormat(language, { month: "long", year: "numeric" })
  }

  /** @param {number} n */
  count(n) {
    return n.toLocaleString(this.#language)
  }

  /** @param {number} bytes */
  size(bytes) {
    return this.#inBytes(bytes, "")
  }

  /** @param {number} bytesPerSecond */
  speed(bytesPerSecond) {
    return this.#inBytes(bytesPerSecond, "-per-second")
  }

  /**
   * Write a duration as 3:07, or as 1:02:03 from an hour on.
   * @param {number} seconds
   */
  clock(seconds) {
    const whole = Math.round(seconds)
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
    const two = (/** @type {number} */ n) => String(n).padStart(2, "0")
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
  }

  /**
   * Write a time: today's without the date, any other with it, so that nobody takes tomorrow's for today's.
   * @param {Date} moment
   */
  moment(moment) {
    const isOfToday = moment.toDateString() === new Date(Date.now()).toDateString()
    return (isOfToday ? this.#time : this.#date).format(moment)
  }

  /** @param {Date} moment */
  whole(moment) {
    return this.#date.format(moment)
  }

  /** @param {Date} moment */
  month(moment) {
    return this.#month.format(moment)
  }

  /**
   * @param {number} bytes
   * @param {string} per
   */
  #inBytes(bytes, per) {
    const step = Math.min(Math.max(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 0), BYTE_UNITS.length - 1)
    const value = bytes / 1000 ** step
    return this.#number(BYTE_UNITS[step] + per, step > 0 && value < 100 ? 1 : 0).format(value)
  }

  /**
   * Return a cached formatter: formatters are expensive to make, and needed hundreds of times a second.
   * @param {string} unit
   * @param {number} digits
   */
  #number(unit, digits) {
    const key = `${unit} ${digits}`
    let number = this.#numbers.get(key)
    if (!number) {
      const options = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }
      number = new Intl.NumberFormat(this.#language, /** @type {Intl.NumberFormatOptions} */ (options))
      this.#numbers.set(key, number)
    }
    return number
  }
}

// The page's own words. Sentences about tasks come from the server, which is told the language.
// Markup names its words: data-t (text), data-t-label (aria-label), data-t-placeholder, data-t-title.

/** The languages: a new one needs a file in i18n/ and an entry here; the first is the default. */
export const LANGUAGES = { zh: "中文", en: "English" }

const ATTRIBUTES = { label: "aria-label", placeholder: "placeholder", title: "title" }

export class I18n {
  language = ""
  format = new Format("zh")
  #plurals = new Intl.PluralRules("zh")
  /** @type {Record<string, string | Record<string, string>>} */
  #texts = {}
  #isWhole = false
  /** The language that was chosen last: the texts of an earlier choice may arrive after its own. */
  #chosen = ""
  /** How far the service's clock is ahead of this machine's, ms. */
  #ahead = 0

  /**
   * Return the time by the service's clock, which all times of the service follow: this machine's clock may
   * be wrong.
   */
  now() {
    return Date.now() + this.#ahead
  }

  /** @param {string | null} date  of an answer that has just come */
  setClock(date) {
    const ahead = Date.parse(date ?? "") - Date.now()
    this.#ahead = Math.abs(ahead) > ALIKE_MS ? ahead : 0
  }

  /**
   * Load the language that was chosen in this browser before, else that of the page. If the server had to
   * guess the page's language, use the first of the browser's languages that exists here, or English.
   */
  async start() {
    const { lang, dataset } = document.documentElement
    const known = Object.keys(LANGUAGES)
    const { languages } = navigator
    const ofBrowser = languages.length && dataset.guessed === ""
      ? [...languages.map((tag) => tag.slice(0, 2)), "en"]
      : [lang]
    const wanted = [recall("language", ""), ...ofBrowser]
    const chosen = wanted.find((language) => known.includes(language)) ?? known[0]
    if (chosen === wanted[0]) askFor(chosen)
    if (chosen !== lang) dataset.guessed = "" // visible texts would move when their words change
    await this.#load(chosen).catch(() => this.#load(lang))
    this.translate(document)
    delete dataset.guessed
  }

  /** @param {string} language */
  async choose(language) {
    await this.#load(language)
    remember("language", this.language)
    askFor(this.language)
  }

  /**
   * Return the text for `key`, with its {placeholders} filled and numbers as the reader writes them; if there
   * is no such text, `otherwise` or the key itself. A text that depends on a count has a form for `n`
   * (Intl.PluralRules).
   * @param {string} key
   * @param {Record<string, string | number>} [values]
   * @param {string} [otherwise]
   */
  t(key, values = {}, otherwise = key) {
    const found = this.#texts[key] ?? otherwise
    const kind = typeof values.n === "number" ? this.#plurals.select(values.n) : "other"
    const text = typeof found === "string" ? found : (found[kind] ?? found.other)
    return text.replace(/\{(\w+)\}/g, (whole, name) => {
      const value = values[name] ?? whole
      return typeof value === "number" ? this.format.count(value) : value
    })
  }

  /** @param {ParentNode} root */
  translate(root) {
    for (const element of elements(root, "[data-t]")) {
      const key = element.dataset.t ?? ""
      if (key in this.#texts) setText(element, this.t(key))
    }
    for (const [name, attribute] of Object.entries(ATTRIBUTES)) {
      for (const element of elements(root, `[data-t-${name}]`)) {
        const key = element.getAttribute(`data-t-${name}`) ?? ""
        if (key in this.#texts) element.setAttribute(attribute, this.t(key))
      }
    }
  }

  /**
   * Load the texts that are not in the page itself: those of dialogs and of modules that are loaded on
   * demand.
   */
  async whole() {
    if (this.#isWhole) return
    const { language } = this
    const texts = await fetchTexts(language)
    if (language !== this.language) return
    this.#texts = texts
    this.#isWhole = true
    this.translate(document)
  }

  /** @param {string} language */
  async #load(language) {
    this.#chosen = language
    const inPage = textsInPage(language)
    const texts = inPage ?? await fetchTexts(language)
    if (language !== this.#chosen) return
    this.#texts = texts
    this.#isWhole = !inPage
    this.language = language
    this.format = new Format(language)
    this.#plurals = new Intl.PluralRules(language)
    document.documentElement.lang = language
  }
}

/**
 * Let the server send the page in this language from now on.
 * @param {string} language
 */
function askFor(language) {
  document.cookie = `clipwire_language=${language}; max-age=31536000; samesite=lax`
}

/**
 * Return the texts that came with the page, if they are in this language: the server sends the language that
 * the browser asks for.
 * @param {string} language
 */
function textsInPage(language) {
  const words = document.getElementById("texts")
  return words?.lang === language ? JSON.parse(words.textContent ?? "{}") : null
}

/** @param {string} language */
async function fetchTexts(language) {
  const answer = await fetch(new URL(`static/i18n/${language}.json`, document.baseURI))
  if (!answer.ok) throw new Error(`no texts for ${language}: ${answer.status}`)
  return await answer.json()
}

/**
 * @param {ParentNode} root
 * @param {string} selector
 * @returns {NodeListOf<HTMLElement>}
 */
const elements = (root, selector) => root.querySelectorAll(selector)
