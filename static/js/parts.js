// @ts-check
// All parts of the page, made once; main.js connects them.

import { Actions } from "./actions.js"
import { Agenda } from "./agenda.js"
import { Announcer } from "./announcer.js"
import { Api } from "./api.js"
import { Checks } from "./checks.js"
import { ClipOffer } from "./clipoffer.js"
import { Connection } from "./connection.js"
import { Counts } from "./counts.js"
import { Deeds } from "./deeds.js"
import { PlayerDialog } from "./dialogs.js"
import { Display } from "./display.js"
import { byId } from "./dom.js"
import { Feed } from "./feed.js"
import { Filter } from "./filter.js"
import { Hold } from "./hold.js"
import { I18n } from "./i18n.js"
import { Intake } from "./intake.js"
import { TaskList } from "./list.js"
import { Menu } from "./menu.js"
import { Notices } from "./notices.js"
import { Opening } from "./opening.js"
import { Pages } from "./pages.js"
import { Plane } from "./plane.js"
import { fetched } from "./problem.js"
import { Readiness } from "./readiness.js"
import { Refusals } from "./refusals.js"
import { Row } from "./row.js"
import { Rows } from "./rows.js"
import { Selection } from "./selection.js"
import { Session } from "./session.js"
import { Settings } from "./settings.js"
import { Source } from "./source.js"
import { Summary } from "./summary.js"
import { Tasks } from "./tasks.js"
import { Together } from "./together.js"
import { Undo } from "./undo.js"
import { View } from "./view.js"

export const i18n = new I18n()
await i18n.start()

export const api = new Api(i18n)
export const filterForm = byId("filter", HTMLFormElement)
export const filter = new Filter(filterForm)
export const source = new Source(api, filter)
source.begin()
i18n.translate(document)

export const session = new Session(api, i18n)
export const settings = new Settings({ i18n, api, session })
export const tasks = new Tasks()
export const list = new TaskList()
export const view = new View(list)
export const listRoot = byId("tasks", HTMLElement)
export const actions = new Actions(api, tasks)
export const undo = new Undo(api, actions)
export const opening = new Opening(i18n, api, () => rows)
export const plane = new Plane(
  listRoot,
  view,
  list,
  (task) => opening.attach(new Row(task, i18n, { undo, selection })),
  i18n,
)
/** @type {Rows} */
export const rows = new Rows(listRoot, view, tasks, plane)
export const pages = new Pages(source, filter, tasks, list)
export const checks = new Checks(source, pages, tasks, list, () => rows.ids)
export const agenda = new Agenda({
  first: (signal) => pages.first(signal),
  session: (signal) => session.check(signal),
  deep: (signal) => checks.deep(signal),
  look: (signal) => checks.look(signal),
  judge: (signal) => checks.judge(signal),
  more: (signal) => pages.more(signal),
})
export const feed = new Feed((since) => api.socketUrl(since))
export const connection = new Connection(feed, agenda, i18n)
export const intake = new Intake(
  api,
  i18n,
  (url) => Boolean(tasks.find([url], ({ stage }) => stage === "completed")),
)
export const { box, submit } = intake
export const notices = new Notices(i18n)
export const counts = new Counts(
  api,
  filterForm,
  i18n,
  async () => new (await import("./queuewatch.js")).QueueWatch(api),
)
export const summary = new Summary(tasks, counts, i18n, notices)
export const refusals = new Refusals()
export const announcer = new Announcer(byId("news", HTMLElement), i18n)
export const menu = new Menu(i18n)
export const readiness = new Readiness(api, i18n)
export const selection = new Selection()
export const together = new Together({ selection, tasks, undo, api, actions, rows, i18n })
const remedies = async () => {
  const { Remedies } = await fetched(import("./remedies.js"), i18n)
  return new Remedies({ intake, actions, undo, menu, settings, api })
}
export const player = new PlayerDialog({ i18n, api, announcer, intake })
export const deeds = new Deeds({
  actions,
  undo,
  opening,
  menu,
  player,
  announcer,
  remedies,
  selection,
  i18n,
})
new ClipOffer({ intake, tasks, player })
export const hold = new Hold(listRoot)
export const display = new Display({
  root: listRoot,
  view,
  rows,
  hold,
  summary,
  list,
  tasks,
  agenda,
  i18n,
})
