// @ts-check
// The whole wiring of the page.

import { Actions } from "./actions.js"
import { Announcer } from "./announcer.js"
import { Api } from "./api.js"
import { Card } from "./card.js"
import { Connection } from "./connection.js"
import { ConfirmDialog, LogDialog, PlayerDialog } from "./dialogs.js"
import { byId } from "./dom.js"
import { Feed } from "./feed.js"
import { Filter } from "./filter.js"
import { I18n, LANGUAGES } from "./i18n.js"
import { TaskList } from "./list.js"
import { Options } from "./options.js"
import { Order } from "./order.js"
import { Pages } from "./pages.js"
import { Session } from "./session.js"
import { Source } from "./source.js"
import { Submit } from "./submit.js"
import { Summary } from "./summary.js"
import { Tasks } from "./tasks.js"

const i18n = new I18n()
await i18n.start()
i18n.translate(document)

const api = new Api(i18n)
const tasks = new Tasks()
const filter = new Filter(byId("filter", HTMLFormElement))
const order = new Order(filter)
const listRoot = byId("tasks", HTMLElement)
const list = new TaskList(listRoot, filter, order, (task) => new Card(task, i18n, api))
const pages = new Pages(new Source(api, filter), tasks, order, list)
const feed = new Feed(() => api.socketUrl())
const connection = new Connection(feed, pages, i18n)
const session = new Session(api)
const submitForm = byId("submit", HTMLFormElement)
const options = new Options(submitForm, i18n)
const submit = new Submit(submitForm, options, api, i18n)
const actions = new Actions(api, tasks)
const summary = new Summary(byId("summary", HTMLElement), tasks, i18n)
const announcer = new Announcer(byId("news", HTMLElement), i18n)
const dialogs = { player: new PlayerDialog(), log: new LogDialog(api), confirm: new ConfirmDialog() }
const languages = byId("language", HTMLSelectElement)
const moreButton = byId("more", HTMLButtonElement)

// What comes in.

/** @param {import("./task.js").Task} task */
function arrived(task) {
  order.arrived(task.task_id)
  tasks.merge(task)
}

feed.addEventListener("task", (event) => arrived(/** @type {CustomEvent} */ (event).detail))
feed.addEventListener("removed", (event) => tasks.remove(/** @type {CustomEvent} */ (event).detail))
submit.addEventListener("task", (event) => arrived(/** @type {CustomEvent} */ (event).detail))
submit.addEventListener(
  "done",
  (event) => announcer.say(i18n.t("announce.sent", /** @type {CustomEvent} */ (event).detail)),
)

tasks.addEventListener("change", (event) => {
  /** @type {import("./tasks.js").Change[]} */
  const changes = /** @type {CustomEvent} */ (event).detail
  for (const change of changes) {
    list.consider(change.task)
    announcer.changed(change)
  }
  summary.show(!pages.hasMore)
})
tasks.addEventListener("removed", (event) => {
  for (const id of /** @type {CustomEvent} */ (event).detail) list.drop(id)
  summary.show(!pages.hasMore)
})

pages.addEventListener("listed", () => {
  listRoot.toggleAttribute("data-listed", true)
  moreButton.hidden = !pages.hasMore
  summary.show(!pages.hasMore)
})

// What the reader does.

/** @param {() => Promise<void>} ask */
async function load(ask) {
  listRoot.ariaBusy = "true"
  await connection.asking(ask)
  listRoot.ariaBusy = "false"
}

listRoot.addEventListener("click", async (event) => {
  const button = /** @type {Element} */ (event.target).closest("button")
  const card = list.card(button?.closest(".card")?.getAttribute("data-id") ?? "")
  const action = button?.dataset.action ?? ""
  if (!button || !card) return
  if (action === "play") dialogs.player.open(card.task, button.dataset.kind ?? "")
  else if (action === "log") await dialogs.log.open(card.task)
  else if (action !== "delete" || (await dialogs.confirm.ask(card.task))) await actions.run(action, card)
})

filter.addEventListener("change", () => {
  listRoot.toggleAttribute("data-filtered", !filter.isAll)
  load(() => pages.first())
})
moreButton.addEventListener("click", () => load(() => pages.more()))

languages.addEventListener("change", async () => {
  await i18n.choose(languages.value)
  i18n.translate(document)
  options.describe()
  if (!session.isWanted) connection.start() // the server's sentences come in the new language
})

session.addEventListener("wanted", () => connection.stop())
session.addEventListener("begun", () => connection.start())

languages.replaceChildren(...Object.entries(LANGUAGES).map(([value, name]) => new Option(name, value)))
languages.value = i18n.language
submit.fill(new URLSearchParams(location.search).get("url") ?? "") // a link that another app handed over
document.documentElement.toggleAttribute("data-ready", true)
if (matchMedia("(pointer: fine)").matches) submit.focus() // elsewhere it would call up a keyboard
connection.start()
