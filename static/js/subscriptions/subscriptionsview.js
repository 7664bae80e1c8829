// @ts-check
// The dialog of the subscriptions: the list of all, one subscription, or the settings of one.

import { Problem } from "../base/api.js"
import { recall, remember } from "../base/preferences.js"
import { hasLibrary } from "../base/library.js"
import { Room } from "../base/room.js"
import { SubscriptionForm } from "./subscriptionform.js"
import { FOLLOWS, LIBRARY } from "./remembered.js"
import { ListOfSubscriptions } from "./subscriptionlist.js"
import { repeat } from "./subscriptionrequests.js"
import { SubscriptionView } from "./subscriptionview.js"
import { ownedPath, owners } from "../tasks/task.js"

/** @typedef {import("./subscriptionwords.js").Subscription} Subscription */

/** Fields that concern one download only, or are not for the entries of a list. */
const NOT_OF_LISTS = ["url", "playlist", "playlist_items", "start_at", "auto_start", "reuse", "clip"]

export class SubscriptionsView extends Room {
  /** @param {import("./subscriptions.js").Parts} parts */
  constructor(parts) {
    super(parts, "subscriptions", "follow.back")
    this.play = parts.play
    this.leadTo = parts.leadTo
  }

  /**
   * Show all subscriptions, or one of them.
   * @param {string} [id]
   */
  async open(id) {
    this.show()
    await (id ? this.one(id) : this.list())
  }

  /**
   * Subscribe to a link with the options that are chosen at the box, and show the new subscription.
   * @param {string} url
   * @param {import("./subscriptions.js").PartsOfBox} parts
   */
  async subscribe(url, { box, options }) {
    const request = Object.fromEntries(
      Object.entries(options.request).filter(([name]) => !NOT_OF_LISTS.includes(name)),
    )
    let id
    let isNew = true
    try {
      const layout = request.preset ? "" : recall(LIBRARY, "") // a preset may name a layout itself
      const library = layout && await hasLibrary(this.api) ? { layout } : undefined
      const isPlain = !Object.keys(request).length // without fields, a default profile of the service applies
      const wanted = { url, request: isPlain ? undefined : request, library }
      ;({ subscription_id: id } = await this.api.send(
        "POST",
        ownedPath("api/subscriptions", owners.chosen),
        wanted,
      ))
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      // The existing subscription, if the service has refused a second one with the same settings.
      id = /** @type {any} */ (error.body).subscription_id
      if (!id) return box.complain(new Map([[url, error.message]]))
      isNew = false
    }
    remember(FOLLOWS, true)
    options.forget()
    box.take([url])
    // The dialog returns the focus to the box when it is closed: the pressed button is gone.
    if (matchMedia("(pointer: fine)").matches) box.focus()
    this.show()
    await this.one(id, isNew)
    if (!isNew) this.complain(this.i18n.t("follow.already"))
  }

  /**
   * Show the list of all subscriptions.
   * @param {string} [focused] the id of the subscription that gets the focus: the one that was shown before
   */
  async list(focused) {
    const list = new ListOfSubscriptions(this)
    this.put(this.i18n.t("follow.title"), list.element, null)
    this.end = repeat(() => list.load())
    await list.loaded
    if (focused) list.focus(focused)
  }

  /**
   * Show one subscription.
   * @param {string} id
   * @param {boolean} [isNew] it has just been subscribed to
   */
  async one(id, isNew = false) {
    const view = new SubscriptionView(this, id, isNew)
    this.put("", view.element, () => this.list(id))
    this.end = view.begin()
    await view.loaded
    this.focusTitle()
  }

  /** @param {Subscription} subscription  whose settings are to be changed */
  async edit(subscription) {
    const { subscription_id: id, name } = subscription
    const form = new SubscriptionForm(this, subscription, () => this.one(id))
    this.put(name, form.element, () => this.one(id), () => form.mayLeave())
    await form.begin()
  }
}
