// @ts-check
// The pictures of a list's entries, which the server fetches from their source while the rows are in sight.

import { Problem } from "../base/api.js"
import { make } from "../base/elements.js"

/** The pictures of one request: few, so that the first ones come soon. */
const AT_ONCE = 8
/** ms to wait for `POST /api/info/thumbnails`, which takes as long as the source. */
const PATIENCE_MS = 50_000

export class EntryPictures {
  #api
  #watcher
  /** The rows in sight whose pictures are not requested yet, in order. @type {Set<Element>} */
  #wanted = new Set()
  /** The places of pictures, and the links at their source. @type {WeakMap<Element, {place: HTMLElement, link: string}>} */
  #pictures = new WeakMap()
  /** @type {AbortController | null} */
  #request = null

  /**
   * @param {import("../base/api.js").Api} api
   * @param {HTMLElement} view  in which the rows scroll
   */
  constructor(api, view) {
    this.#api = api
    this.#watcher = new IntersectionObserver((changes) => this.#seen(changes), {
      root: view,
      rootMargin: "200px",
    })
  }

  /**
   * Return the place of the entry's picture, which is loaded when `row` comes into sight.
   * @param {HTMLElement} row
   * @param {string} [link]  at the source; undefined: the place stays empty
   */
  add(row, link) {
    const place = make("span", { className: "entry-picture" })
    if (!link) return place
    this.#pictures.set(row, { place, link })
    this.#watcher.observe(row)
    return place
  }

  clear() {
    this.#request?.abort()
    this.#request = null
    this.#wanted.clear()
    this.#watcher.disconnect()
  }

  /** @param {IntersectionObserverEntry[]} changes */
  #seen(changes) {
    for (const { target, isIntersecting } of changes) {
      if (isIntersecting) this.#wanted.add(target)
      else this.#wanted.delete(target)
    }
    this.#load()
  }

  /** Load the wanted pictures, one request after another. A picture that fails is not requested again. */
  async #load() {
    if (this.#request) return
    const request = this.#request = new AbortController()
    try {
      while (this.#wanted.size) await this.#loadSome([...this.#wanted].slice(0, AT_ONCE), request.signal)
    } catch (error) {
      if (!request.signal.aborted && !(error instanceof Problem)) throw error
    } finally {
      if (this.#request === request) this.#request = null
    }
  }

  /**
   * @param {Element[]} rows
   * @param {AbortSignal} signal
   */
  async #loadSome(rows, signal) {
    const pictures = rows.flatMap((row) => this.#pictures.get(row) ?? [])
    for (const row of rows) {
      this.#wanted.delete(row)
      this.#watcher.unobserve(row)
    }
    const body = { urls: pictures.map(({ link }) => link) }
    const how = { signal, patience: PATIENCE_MS }
    const { thumbnails } = await this.#api.send("POST", "api/info/thumbnails", body, {}, how)
    for (const { place, link } of pictures) {
      if (thumbnails[link]) place.append(make("img", { src: thumbnails[link], alt: "" }))
    }
  }
}
