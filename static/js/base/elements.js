// @ts-check
// Makes elements by script: views that few readers open have no markup in the page, because every reader
// would load it.

import { isSeen } from "./dom.js"

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [properties]  of the element; those with a dash become attributes, undefined ones nothing
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue
    if (name.includes("-")) element.setAttribute(name, value)
    else Object.assign(element, { [name]: value })
  }
  element.append(...children)
  return element
}

/** @param {string} name  of a symbol of the page */
export function icon(name) {
  const svg = /** @type {Element} */ (document.querySelector("svg.icon")?.cloneNode(true))
  svg.querySelector("use")?.setAttribute("href", `#i-${name}`)
  return svg
}

/**
 * Draw a symbol that is not part of the page, so that not every visitor loads it.
 * @param {string} name
 * @param {string} path
 */
export function addSymbol(name, path) {
  if (document.getElementById(`i-${name}`)) return
  const model = /** @type {Element} */ (document.getElementById("i-menu"))
  const symbol = /** @type {Element} */ (model.cloneNode(true))
  symbol.id = `i-${name}`
  symbol.querySelector("path")?.setAttribute("d", path)
  model.after(symbol)
}

/**
 * Load a style sheet that few readers need; wait for it before showing a view that uses it.
 * @param {string} href
 */
export async function loadStyles(href) {
  if (document.querySelector(`link[href="${href}"]`)) return
  const link = make("link", { rel: "stylesheet", href })
  await new Promise((resolve, reject) => {
    link.addEventListener("load", resolve)
    link.addEventListener("error", () => {
      link.remove() // without the link, a later call requests it again
      reject(new Error(href))
    })
    document.head.append(link)
  })
}

/**
 * @param {string} text
 * @param {() => unknown} then
 * @param {Record<string, any>} [properties]
 */
export function button(text, then, properties = {}) {
  return make("button", { type: "button", onclick: then, ...properties }, text)
}

/**
 * Make a button with only an icon; `text` is its name.
 * @param {string} name of the icon
 * @param {string} text
 * @param {() => unknown} then
 */
export function iconButton(name, text, then) {
  return make(
    "button",
    { type: "button", className: "icon-only", onclick: then, "aria-label": text, title: text },
    icon(name),
  )
}

/** A search begins when the reader has typed nothing for this long. */
const TYPING_MS = 250

/**
 * Make a search field.
 * @param {string} label
 * @param {(text: string) => unknown} search gets another text than before, once the reader pauses
 */
export function searchField(label, search) {
  const field = make("input", { type: "search", maxLength: 200, "aria-label": label, placeholder: label })
  field.autocomplete = "off"
  let last = ""
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let pause
  const look = () => {
    const text = field.value.trim()
    if (text === last || !field.isConnected) return
    last = text
    search(text)
  }
  const typed = (/** @type {any} */ event) => {
    clearTimeout(pause)
    // While an input method composes a word, the text is no search yet.
    if (!event.isComposing) pause = setTimeout(look, TYPING_MS)
  }
  for (const type of ["input", "compositionend"]) field.addEventListener(type, typed)
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || !field.value) return
    event.preventDefault() // in a dialog, Escape would also close the dialog
    event.stopPropagation()
    field.value = ""
    look()
  })
  return field
}

/**
 * Move the focus by the arrow keys: up and down a list, and from control to control of a row. The whole row
 * is one stop of Tab.
 * @param {HTMLElement} list
 * @param {string} selector what has the focus in each of its rows
 * @param {KeyboardEvent} event
 */
export function moveBetween(list, selector, event) {
  const row = event.target instanceof Element && event.target.closest("li")
  if (!row || event.altKey || event.ctrlKey || event.metaKey) return
  const controls = /** @type {HTMLElement[]} */ ([...row.querySelectorAll("input, button, a")].filter(isSeen))
  const at = controls.indexOf(/** @type {HTMLElement} */ (event.target))
  const heir = {
    ArrowDown: row.nextElementSibling?.querySelector(selector),
    ArrowUp: row.previousElementSibling?.querySelector(selector),
    ArrowRight: controls[at + 1],
    ArrowLeft: controls[at - 1],
  }[event.key]
  if (!(heir instanceof HTMLElement) || !list.contains(heir)) return
  event.preventDefault()
  heir.focus()
}
