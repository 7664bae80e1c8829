// @ts-check
// The few things that every part of the page does to the document.

/**
 * The element of index.html with this id: that it is there and of which kind is the page's own promise.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const element = document.getElementById(id)
  if (!(element instanceof kind)) throw new Error(`index.html has no ${kind.name} #${id}`)
  return element
}

/**
 * A copy of a <template>, with its words, and its parts by their data-part.
 * @param {string} id
 * @param {import("./i18n.js").I18n} i18n
 */
export function fromTemplate(id, i18n) {
  const copy = /** @type {DocumentFragment} */ (byId(id, HTMLTemplateElement).content.cloneNode(true))
  i18n.translate(copy)
  /** @type {Record<string, any>} */
  const parts = {}
  for (const part of copy.querySelectorAll("[data-part]")) parts[part.getAttribute("data-part") ?? ""] = part
  return { element: /** @type {HTMLElement} */ (copy.firstElementChild), parts }
}

/**
 * Write only what differs: an equal text would still cost a layout.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}
