// @ts-check
// The subscription of a row: its name in the row leads to the subscription, and its other rows in the section
// are folded under the first.

import { setAttribute, setText } from "../base/dom.js"
import { button, icon, make } from "../base/elements.js"
import { recall, remember } from "../base/preferences.js"
import { allSubscriptions } from "./glance.js"
import { FOLDED } from "./remembered.js"

/** @typedef {import("../tasks/task.js").Task} Task */

export class Origins {
  /**
   * The name of each subscription by its id; "" while it is requested, and for one that is gone.
   * @type {Map<string, string>}
   */
  #names = new Map()
  #isAsking = false
  /** The ids of the subscriptions whose rows are folded. @type {Set<string>} */
  #folded
  /**
   * For each section and subscription, its first row there, and the number of its other rows.
   * @type {Map<string, {first: string, others: number, isFolded: boolean}>}
   */
  #heads = new Map()
  #parts

  /**
   * @param {object} parts
   * @param {import("../base/api.js").Api} parts.api
   * @param {import("../base/i18n.js").I18n} parts.i18n
   * @param {import("../list/list.js").TaskList} parts.list
   * @param {import("../list/shown.js").ShownList} parts.shown
   * @param {import("../list/rows.js").Rows} parts.rows
   * @param {import("../list/updates.js").Pointing} parts.pointing
   * @param {(id: string) => unknown} parts.openSubscription
   */
  constructor(parts) {
    this.#parts = parts
    /** @type {string[]} */
    const folded = recall(FOLDED, [])
    this.#folded = new Set(folded)
    parts.shown.origins = this
    this.#render()
  }

  /**
   * Return the tasks that have a row of their own: all but those that are folded under another.
   * @param {readonly Task[]} tasks
   */
  visible(tasks) {
    this.#heads.clear()
    return tasks.filter((task) => {
      const key = this.#keyOf(task)
      const head = this.#heads.get(key)
      if (!key) return true
      if (!head) {
        return this.#heads.set(key, { first: task.task_id, others: 0, isFolded: this.#isFolded(task) })
      }
      head.others += 1
      return !this.#isFolded(task)
    })
  }

  /** @param {Task} task  whether it is folded: counted in another row, without one */
  hides(task) {
    const head = this.#heads.get(this.#keyOf(task))
    return this.#isFolded(task) && head !== undefined && head.first !== task.task_id
  }

  /**
   * Return how many tasks of a section are folded.
   * @param {number} section
   */
  foldedIn(section) {
    let count = 0
    for (const [key, { others, isFolded }] of this.#heads) {
      if (isFolded && key.startsWith(`${section} `)) count += others
    }
    return count
  }

  /** @param {Task} task */
  #isFolded({ subscription_id = "" }) {
    return this.#folded.has(subscription_id)
  }

  /** @param {Task} task  "" for a row that never folds */
  #keyOf(task) {
    const { list } = this.#parts
    const { subscription_id } = task
    return subscription_id && list.rule.isFolded ? `${list.order.sections.of(task)} ${subscription_id}` : ""
  }

  #render() {
    const { shown, rows } = this.#parts
    rows.render(() => void shown.refresh())
  }

  /**
   * Show the subscription's name in the row's line of facts.
   * @param {HTMLElement} row
   * @param {Task} task
   */
  show(row, task) {
    const facts = /** @type {HTMLElement} */ (row.querySelector(".facts"))
    const { subscription_id: id = "" } = task
    if (!this.#names.has(id)) this.#ask(id)
    const name = this.#names.get(id) ?? ""
    /** @type {HTMLElement | null} */
    let origin = facts.querySelector(".origin")
    if (!origin && name) {
      const open = () => this.#parts.openSubscription(id)
      origin = button("", open, { className: "origin", tabIndex: -1 })
      origin.append(make("span"))
      facts.insertBefore(origin, facts.querySelector(".fold"))
    }
    if (origin) {
      setText(/** @type {HTMLElement} */ (origin.firstElementChild), name)
      setAttribute(origin, "title", name) // the name may be cut off in the row
    }
    const head = this.#heads.get(this.#keyOf(task))
    this.#offerFold(facts, task, head?.first === task.task_id ? head.others : 0)
  }

  /**
   * @param {HTMLElement} facts
   * @param {Task} task
   * @param {number} others
   */
  #offerFold(facts, task, others) {
    /** @type {HTMLElement | null} */
    let fold = facts.querySelector(".fold")
    if (!others) return fold?.remove()
    if (!fold) {
      fold = button("", () => this.#toggle(task), { className: "fold", tabIndex: -1 })
      fold.append(make("span"), icon("chevron"))
      facts.append(fold)
    }
    fold.ariaExpanded = String(!this.#isFolded(task))
    const words = /** @type {HTMLElement} */ (fold.firstElementChild)
    setText(words, this.#parts.i18n.t("follow.more_rows", { n: others }))
  }

  /** @param {Task} task */
  #toggle({ subscription_id = "" }) {
    if (!this.#folded.delete(subscription_id)) this.#folded.add(subscription_id)
    remember(FOLDED, [...this.#folded])
    this.#parts.pointing.end() // the reader has asked for this change: it does not wait
    this.#render()
  }

  /** @param {string} id  one request tells the names of all */
  async #ask(id) {
    this.#names.set(id, "")
    if (this.#isAsking) return
    this.#isAsking = true
    // On an error, rows have no name of a subscription.
    const all = await allSubscriptions(this.#parts.api).catch(() => [])
    this.#isAsking = false
    for (const { subscription_id, name } of all) this.#names.set(subscription_id, name)
    this.#render()
  }
}
