// @ts-check
// The whole wiring of the page.

import { Actions } from "./actions.js"
import { Agenda } from "./agenda.js"
import { Announcer } from "./announcer.js"
import { Api } from "./api.js"
import { Card } from "./card.js"
import { Checks } from "./checks.js"
import { Connection } from "./connection.js"
import { closeDialogs, ConfirmDialog, LogDialog, PlayerDialog } from "./dialogs.js"
import { byId, on } from "./dom.js"
import { Feed } from "./feed.js"
import { Filter } from "./filter.js"
import { I18n, LANGUAGES } from "./i18n.js"
import { TaskList } from "./list.js"
import { Options } from "./options.js"
import { Pages } from "./pages.js"
import { Rows } from "./rows.js"
import { Session } from "./session.js"
import { Source } from "./source.js"
import { Submit } from "./submit.js"
import { Summary } from "./summary.js"
import { Tasks } from "./tasks.js"

/** Several that only the server can judge become one question. */
const DOUBT_MS = 300

const i18n = new I18n()
await i18n.start()
i18n.translate(document)

const api = new Api(i18n)
const session = new Session(api)
const tasks = new Tasks()
const filter = new Filter(byId("filter", HTMLFormElement))
const list = new TaskList()
const listRoot = byId("tasks", HTMLElement)
const rows = new Rows(listRoot, list, (task) => new Card(task, i18n))
const source = new Source(api, filter)
const pages = new Pages(source, filter, tasks, list)
const checks = new Checks(source, pages, tasks, list, () => rows.ids)
const agenda = new Agenda({
  session: (signal) => session.check(signal),
  first: (signal) => pages.first(signal),
  deep: (signal) => checks.deep(signal),
  look: (signal) => checks.look(signal),
  judge: (signal) => checks.judge(signal),
  more: (signal) => pages.more(signal),
})
const feed = new Feed(() => api.socketUrl())
const connection = new Connection(feed, agenda, i18n)
const submitForm = byId("submit", HTMLFormElement)
const options = new Options(submitForm, i18n)
const submit = new Submit(submitForm, options, api, i18n)
const actions = new Actions(api, tasks, rows)
const summary = new Summary(byId("summary", HTMLElement), tasks, i18n)
const announcer = new Announcer(byId("news", HTMLElement), i18n)
const dialogs = { player: new PlayerDialog(), log: new LogDialog(api), confirm: new ConfirmDialog() }
const languages = byId("language", HTMLSelectElement)

// What comes in.

function show() {
  rows.render()
  summary.show(!pages.hasMore)
  if (list.doubts.length) setTimeout(() => agenda.add("judge"), DOUBT_MS)
}

on(feed, "task", (task) => tasks.merge(task))
on(feed, "removed", (id) => tasks.remove(id))
on(feed, "ended", () => session.want())
on(actions, "told", () => connection.told())
on(submit, "task", (task) => tasks.merge(task) && connection.told())
on(submit, "done", (counts) => announcer.say(i18n.t("announce.sent", counts)))

on(tasks, "change", (/** @type {import("./tasks.js").Change[]} */ changes) => {
  for (const change of changes) {
    list.consider(change.task)
    announcer.changed(change)
  }
  show()
})
on(tasks, "removed", (/** @type {string[]} */ ids) => {
  for (const id of ids) list.drop(id)
  show()
})
on(agenda, "answered", ({ question }) => {
  if (question === "first") listRoot.toggleAttribute("data-listed", true)
  listRoot.ariaBusy = "false"
  show()
})

// What the reader does.

listRoot.addEventListener("click", async ({ target }) => {
  const button = /** @type {Element} */ (target).closest("button")
  const task = list.get(button?.closest(".card")?.getAttribute("data-id") ?? "")
  const action = button?.dataset.action ?? ""
  if (!button || !task || button.ariaDisabled === "true") return
  if (action === "play") dialogs.player.open(task, button.dataset.kind ?? "")
  else if (action === "log") await dialogs.log.open(task)
  else if (action !== "delete" || (await dialogs.confirm.ask(task))) await actions.run(action, task)
})

filter.addEventListener("change", () => {
  listRoot.toggleAttribute("data-filtered", !filter.rule.isAll)
  listRoot.ariaBusy = "true"
  connection.list()
})
rows.addEventListener("end", () => pages.hasMore && agenda.add("more"))

languages.addEventListener("change", async () => {
  await i18n.choose(languages.value)
  i18n.translate(document)
  options.describe()
  rows.renew()
  connection.renew() // the server's sentences come in the new language
})

session.addEventListener("wanted", () => {
  connection.stop()
  tasks.close()
  pages.clear()
  closeDialogs()
  announcer.hush()
  show()
})
session.addEventListener("begun", () => {
  tasks.open()
  connection.start()
})

languages.replaceChildren(...Object.entries(LANGUAGES).map(([value, name]) => new Option(name, value)))
languages.value = i18n.language
submit.fill(new URLSearchParams(location.search).get("url") ?? "") // a link that another app handed over
document.documentElement.toggleAttribute("data-ready", true)
if (matchMedia("(pointer: fine)").matches) submit.focus() // elsewhere it would call up a keyboard
connection.start()
