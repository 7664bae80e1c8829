// @ts-check
// Small helpers with which every part of the page changes the document.

/**
 * The element of index.html with this id. Throws if it is missing or of another kind, which is a fault of the page.
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
  // A clone would stay in the template's own document, in which a click on a link does nothing.
  const copy = document.importNode(byId(id, HTMLTemplateElement).content, true)
  i18n.translate(copy)
  /** @type {Record<string, any>} */
  const parts = {}
  for (const part of copy.querySelectorAll("[data-part]")) parts[part.getAttribute("data-part") ?? ""] = part
  return { element: /** @type {HTMLElement} */ (copy.firstElementChild), parts }
}

/**
 * Write a text only if it differs: writing an equal text would still cost a layout.
 * @param {HTMLElement} element
 * @param {string} text
 */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text
}

/** A fact with more characters is too long for a line of a phone, and may be broken like a text. */
const LONGEST_FACT = 24

/**
 * Write facts with dots between them. Each dot stands before its fact, and is hidden at the beginning of a
 * line, so that no line begins or ends with a dot.
 * @param {HTMLElement} element
 * @param {string[]} facts
 */
export function setFacts(element, facts) {
  const areShort = facts.length > 1 && facts.every(({ length }) => length < LONGEST_FACT)
  element.classList.toggle("short-facts", areShort)
  if (!areShort) return setText(element, facts.join(" · "))
  if (element.childElementCount !== facts.length) {
    element.replaceChildren(...facts.map((_, at) => {
      const [fact, dot] = [document.createElement("span"), document.createElement("span")]
      if (at) fact.append(dot)
      dot.textContent = " · "
      fact.append("")
      return fact
    }))
  }
  for (const [at, fact] of facts.entries()) {
    const text = /** @type {Text} */ (element.children[at].lastChild)
    if (text.data !== fact) text.data = fact
  }
}

/**
 * Return a fact whose spaces do not break, so that a number and its unit stay in one line; a long fact may
 * break.
 * @param {string} fact
 */
export const unbroken = (fact) =>
  /\d/.test(fact) && fact.length < LONGEST_FACT
    ? fact.replaceAll(" ", "\u00a0").replace(/\/(?=\p{Script=Han})/u, "/\u2060")
    : fact

/**
 * Whether the element is visible, and so can have the focus.
 * @param {Element} element
 */
export const isSeen = (element) => element.checkVisibility({ visibilityProperty: true })

/** Whether the server does not answer, so that the page shows an earlier state. */
export const isAway = () => document.documentElement.hasAttribute("data-away")

/**
 * Listen for an event of one of the page's own classes; `then` gets its `detail`.
 * @param {EventTarget} target
 * @param {string} type
 * @param {(detail: any) => void} then
 */
export function on(target, type, then) {
  target.addEventListener(type, (event) => then(/** @type {CustomEvent} */ (event).detail))
}

/**
 * @param {HTMLElement} element
 * @param {string} name
 * @param {string} value
 */
export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value)
}

/**
 * Make `children` the children of `parent`, in this order, moving no more elements than necessary: an element
 * that is moved loses the focus, a selection and its place in an animation.
 * @param {HTMLElement} parent
 * @param {HTMLElement[]} children
 */
export function arrange(parent, children) {
  const focused = document.activeElement
  /** @type {Set<Element>} */
  const wanted = new Set(children)
  for (const child of [...parent.children]) if (!wanted.has(child)) child.remove()
  let next = parent.firstElementChild
  for (const child of children) {
    if (next?.nextElementSibling === child) { // `next` comes later in the new order, and is inserted then
      next.remove()
      next = child
    }
    if (child === next) next = next.nextElementSibling
    else parent.insertBefore(child, next)
  }
  const isBack = focused !== document.activeElement && parent.contains(focused)
  if (isBack && focused instanceof HTMLElement) focused.focus({ preventScroll: true })
}

/**
 * Whether a key belongs to an IME, where Enter ends a word. In Safari only the old keyCode says so: its
 * keydown comes after the composition has ended.
 * @param {KeyboardEvent} event
 */
export const isOfIme = (event) => event.isComposing || event.keyCode === 229

// Where the focus goes when a change hides or removes the focused control.

/** The button that replaces a pressed one. @type {Record<string, string>} */
const SUCCESSORS = { pause: "resume", resume: "pause" }

export class Focus {
  #root
  #pressed = ""

  /** @param {HTMLElement} root  can be focused itself, and has buttons with a data-action */
  constructor(root) {
    this.#root = root
    root.addEventListener("click", ({ target }) => (this.#pressed = actionOf(target)))
  }

  /**
   * Make a change that may hide or replace the focused control. If the reader pressed that control, the
   * control in its place gets the focus. Otherwise the root gets it, so that no key presses a control that
   * the reader did not choose.
   * @param {() => void} change
   */
  keep(change) {
    const focused = this.#root.contains(document.activeElement) ? document.activeElement : null
    change()
    if (!focused || (focused.isConnected && isSeen(focused))) return
    const action = actionOf(focused)
    const successor = this.#pressed === action ? this.#button(SUCCESSORS[action]) : null
    this.#pressed = ""
    const heir = successor && isSeen(successor) ? successor : this.#root
    heir.focus({ preventScroll: true })
  }

  /**
   * @param {string} action
   * @returns {HTMLElement | null}
   */
  #button(action) {
    return this.#root.querySelector(`[data-action="${action}"]`)
  }
}

/**
 * Make a change that may hide the focused control. Then `heir` gets the focus if the reader uses the
 * keyboard, but not if he uses a pointer: a focus in the list would hold its changes back.
 * @param {HTMLElement | undefined} heir
 * @param {() => void} change
 */
export function keepFocus(heir, change) {
  const focused = document.activeElement
  const isOfKeyboard = focused?.matches(":focus-visible") ?? false
  change()
  if (focused && isOfKeyboard && !isSeen(focused)) heir?.focus({ preventScroll: true })
}

/** @param {EventTarget | null} target */
function actionOf(target) {
  const button = target instanceof Element ? target.closest("[data-action]") : null
  return button?.getAttribute("data-action") ?? ""
}
