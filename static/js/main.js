// @ts-check
// Makes the parts of the page and connects them: it says which event of one part calls which other part.

import { Api, fetched } from "./base/api.js"
import { Connection, Feed, Questions } from "./tasks/connection.js"
import { Counts } from "./tasks/counts.js"
import { closeDialogs } from "./base/dialogs.js"
import { byId, keepFocus, on, setText } from "./base/dom.js"
import { Filter } from "./list/filter.js"
import { Header, Readiness } from "./header/header.js"
import { arrive, keepShell } from "./session/home.js"
import { I18n } from "./base/i18n.js"
import { Intake } from "./intake/intake.js"
import { Keys } from "./list/keys.js"
import { Layout } from "./list/layout.js"
import { TaskList } from "./list/list.js"
import { Menu } from "./header/menu.js"
import { Announcer, Notices, showRefusals } from "./notices/news.js"
import { OpenedRows } from "./row/opened.js"
import { Checks, Pages, Source } from "./list/pages.js"
import { TaskRequests } from "./row/requests.js"
import { Row } from "./row/row.js"
import { listen, RowActions } from "./row/rowactions.js"
import { Rows } from "./list/rows.js"
import { Selection } from "./list/selection.js"
import { Session } from "./session/session.js"
import { Settings } from "./settings/settings.js"
import { ShownList } from "./list/shown.js"
import { Tasks } from "./tasks/tasks.js"
import { Undo } from "./row/undo.js"
import { Pointing, Updates } from "./list/updates.js"

const i18n = new I18n()
await i18n.start()
start()

function start() {
  const api = new Api(i18n)
  const root = byId("tasks", HTMLElement)
  const filterForm = byId("filter", HTMLFormElement)
  const filter = new Filter(filterForm)
  const source = new Source(api, filter)
  source.begin()

  // The data: tasks, requests and filters.
  const session = new Session(api, i18n)
  const tasks = new Tasks()
  const list = new TaskList()
  const pages = new Pages(source, filter, tasks, list)
  const checks = new Checks(source, pages, tasks, list, () => rows.ids)
  const questions = new Questions({
    first: (signal) => pages.first(signal),
    session: (signal) => session.check(signal),
    deep: (signal) => checks.deep(signal),
    look: (signal) => checks.look(signal),
    judge: (signal) => checks.judge(signal),
    more: (signal) => pages.more(signal),
    rest: (signal) => pages.rest(signal),
  })
  const loadRest = () => pages.hasMore ? questions.answered("rest") : Promise.resolve()
  const feed = new Feed((since) => api.socketUrl(since))
  const connection = new Connection(feed, questions, i18n)
  const counts = new Counts(
    api,
    filterForm,
    i18n,
    async () => new (await import("./tasks/queuewatch.js")).QueueWatch(api),
  )
  const readiness = new Readiness(api, i18n)

  // The parts with which the reader acts.
  const requests = new TaskRequests(api, tasks)
  const undo = new Undo(api, requests)
  const selection = new Selection()
  const announcer = new Announcer(byId("news", HTMLElement), i18n)
  const notices = new Notices(i18n)
  const menu = new Menu(i18n)
  /** @type {import("./player/player.js").Player | undefined} */
  let player
  const play = async (/** @type {import("./tasks/task.js").Task} */ task, isForClip = false, kind = "") => {
    const { Player } = await fetched(import("./player/player.js"), i18n)
    player ??= new Player({ i18n, api, announcer, intake, send })
    await player.open(task, isForClip, kind)
  }
  /** @type {import("./row/sendto.js").SendTo | undefined} */
  let sendTo
  const send = async (/** @type {import("./tasks/task.js").Task} */ task, kind = "") => {
    const { SendTo } = await fetched(import("./row/sendto.js"), i18n)
    sendTo ??= new SendTo({ i18n, api, announcer })
    await sendTo.open(task, kind)
  }
  /** The id of a task whose row gets the focus once the list has it. */
  let awaited = ""
  const leadTo = (/** @type {import("./tasks/task.js").Task} */ { task_id, url }) => {
    closeDialogs()
    pointing.end()
    if (shown.indexOf(task_id) >= 0) return rows.step(task_id, 0)
    awaited = task_id
    filter.clear(url.slice(0, 200))
  }
  const subscriptions = () => fetched(import("./subscriptions/subscriptions.js"), i18n)
  const subscribe = async (/** @type {string} */ link) =>
    (await subscriptions()).subscribe(link, { i18n, api, play, leadTo, box, options: intake.options })
  const openSubscriptions = async (/** @type {string} */ id = "") =>
    (await subscriptions()).openSubscriptions({ i18n, api, play, leadTo }, id)
  /** @type {Intake} */
  const intake = new Intake({ api, tasks, play, subscribe, i18n })
  const { box, submit } = intake
  const settings = new Settings({ i18n, api, session, options: intake.options, openSubscriptions })

  // The parts that show something.
  /** @type {ShownList} */
  const shown = new ShownList(list, (id) => opened.entriesOf(id))
  const opened = new OpenedRows({ i18n, api, tasks, shown, source, rows: () => rows })
  // While the list is held, it has the tasks as they were.
  const newRow = (/** @type {import("./tasks/task.js").Task} */ task) =>
    opened.attach(new Row(tasks.get(task.task_id) ?? task, i18n, { undo, selection, tasks, shown }))
  const layout = new Layout(root, shown, list, newRow, i18n)
  /** @type {Rows} */
  const rows = new Rows(root, shown, tasks, layout)
  const header = new Header(tasks, counts, i18n, notices)
  const pointing = new Pointing(root)
  const updates = new Updates({ root, shown, rows, pointing, header, list, tasks, questions, i18n })
  /**
   * The selection bar, which is made when the first task is selected.
   * @type {import("./list/selectionbar.js").SelectionBar | undefined}
   */
  let bar
  const rowActions = new RowActions({
    requests,
    undo,
    opened,
    menu,
    play,
    send,
    announcer,
    selection,
    intake,
    settings,
    api,
    i18n,
  })
  shown.origins.show = () => {
    shown.origins = {}
    subscriptions().then(
      ({ showOrigins }) => showOrigins({ i18n, api, play, leadTo, list, shown, rows, pointing }),
      () => {}, // without the script that is loaded on demand, rows lack these links
    )
  }
  const retryFailed = async () => (await theBar()).retryFailed(filter.rule.owner)
  const logOut = async () => {
    await undo.finish() // pending deletions need the session, and another request might overtake them
    return session.logOut()
  }
  /** @type {{more: import("./header/mainmenu.js").More}} */
  const mainMenu = { more: { items: () => [], without: [] } }
  const chooseOlder = async () => (await theBar()).chooseOlder()
  new Keys({ root, rows, rowActions, selection, list, box, filter, loadRest, chooseOlder, i18n })
  listen(root, rows, rowActions, { selection, shown, play })
  showRefusals()

  const lines = {
    filtered: byId("filtered", HTMLElement),
    paused: byId("paused", HTMLElement),
    retry: byId("retry-failed", HTMLElement),
    covers: byId("as-covers", HTMLElement),
  }
  /** Whether the current filter may hide the tasks that were sent last. */
  let isHidden = false
  const showLines = () =>
    keepFocus(root, () => {
      lines.filtered.hidden = !isHidden
      lines.paused.hidden = !counts.isPaused
      setText(lines.retry, i18n.t("menu.retry", { n: counts.stages.failed }))
      lines.retry.hidden = filter.rule.choice !== "failed" || !counts.stages.failed
      lines.covers.hidden = filter.rule.choice !== "completed"
    })
  const showFilter = () => {
    keepFocus(root, () => root.toggleAttribute("data-filtered", !filter.rule.isAll))
    if (!filter.rule.isAll) document.documentElement.toggleAttribute("data-finding", true)
  }

  const settle = (/** @type {string[]} */ links) => {
    list.expect(links)
    updates.show()
  }

  // Events from the server.
  on(feed, "task", (task) => tasks.merge(task))
  on(feed, "removed", (id) => tasks.remove(id))
  on(feed, "ended", () => session.want())
  on(requests, "told", () => connection.told())
  on(requests, "busy", (id) => rows.row(id)?.busy(requests.isBusy(id)))
  on(requests, "refused", ({ id, message }) => {
    rows.row(id)?.say(message)
    announcer.say(message)
  })
  on(undo, "change", (id) => rows.row(id)?.refresh(tasks.has(id)))
  // Makes room at the top for the row of the next link.
  on(intake.box, "change", () => box.link && list.fresh && settle([]))
  on(submit, "sending", (links) => {
    rows.forgetCurrent() // after sending, the arrow keys lead from the box to the new tasks, which come first
    settle(links)
  })
  on(submit, "task", (task) => {
    list.welcome(task)
    if (tasks.merge(task)) connection.told()
  })
  on(submit, "done", (sent) => {
    tasks.flush()
    pointing.end() // the reader expects the new tasks in the list
    intake.arrived()
    isHidden = sent.taken > 0 && !filter.rule.isAll
    showLines()
    announcer.say(i18n.t("announce.sent", sent))
  })
  on(updates, "change", (change) => {
    if (!change.before && list.isFresh(change.task.task_id)) {
      pointing.end()
      intake.arrived()
    }
    opened.changed(change.task)
    if (change.before?.stage !== change.task.stage) counts.stale()
    announcer.changed(change)
    notices.changed(change)
  })
  on(tasks, "removed", (ids) => {
    undo.gone(ids)
    for (const id of ids) selection.drop(id)
    counts.stale()
  })
  const theBar = async () => {
    const { SelectionBar } = await fetched(import("./list/selectionbar.js"), i18n)
    return bar ??= new SelectionBar({
      selection,
      tasks,
      list,
      menu,
      total: () => counts.of(filter.rule),
      loadRest,
      undo,
      api,
      requests,
      rows,
      i18n,
    })
  }
  on(selection, "change", () => {
    for (const id of rows.ids) rows.row(id)?.select(selection.has(id))
    if (selection.size) theBar()
  })
  on(counts, "change", () => {
    showLines()
    header.show()
    if (shown.isPaused === counts.isPaused) return
    shown.isPaused = counts.isPaused
    rows.soon()
  })
  on(questions, "answered", ({ question }) => {
    if (question !== "first") return
    if (awaited) rows.step(awaited, 0)
    awaited = ""
    if (new URLSearchParams(location.search).has("play")) {
      fetched(import("./player/player.js"), i18n).then(({ playNamed }) => playNamed(api, play))
    }
    keepShell()
    counts.ask()
    readiness.start()
  })
  on(notices, "seen", () => updates.show())
  on(connection, "back", () => submit.back())
  on(connection, "away", () => {
    for (const id of rows.ids) rows.row(id)?.refresh(tasks.has(id))
    header.show()
  })
  on(api, "unreachable", () => connection.doubt())

  // Events from the reader.
  on(filter, "change", () => {
    isHidden = false
    selection.clear()
    showLines()
    showFilter()
    root.ariaBusy = "true"
    connection.list()
  })
  for (const button of document.querySelectorAll("#clear-filter, #filtered [data-part=clear]")) {
    button.addEventListener("click", () => filter.clear())
  }
  const find = byId("find", HTMLButtonElement)
  find.addEventListener("click", () => {
    const isOpen = document.documentElement.toggleAttribute("data-finding")
    find.ariaExpanded = String(isOpen)
    if (isOpen) filter.search()
    else filter.clear()
  })
  byId("menu", HTMLButtonElement).addEventListener("click", async () => {
    const { openMainMenu } = await fetched(import("./header/mainmenu.js"), i18n)
    openMainMenu({ menu, session, settings, counts, retryFailed, logOut, i18n }, mainMenu.more)
    const { offer } = await subscriptions()
    offer({ i18n, api, play, leadTo })
  })
  byId("from-elsewhere", HTMLButtonElement).addEventListener(
    "click",
    async () => (await settings.open()).showElsewhere(),
  )
  lines.paused.querySelector("button")?.addEventListener("click", () => counts.pause(false))
  lines.retry.addEventListener("click", retryFailed)
  /** @type {import("./player/shelf.js").Shelf | undefined} */
  let shelf
  lines.covers.addEventListener("click", async () => {
    const { Shelf } = await fetched(import("./player/shelf.js"), i18n)
    shelf ??= new Shelf({ api, tasks, play, openSubscription: openSubscriptions, i18n })
    await shelf.open()
  })
  on(rows, "end", () => pages.hasMore && questions.add("more"))
  on(settings, "logout", logOut)
  on(settings, "language", () => {
    i18n.translate(document)
    showLines()
    intake.describe()
    readiness.show()
    bar?.show()
    opened.clear()
    rows.renew()
    connection.renew() // the server's sentences have to come in the new language
  })
  on(session, "wanted", () => {
    connection.stop()
    tasks.close()
    counts.clear()
    readiness.stop()
    selection.clear()
    pages.clear()
    opened.clear()
    menu.close()
    closeDialogs()
    announcer.hush()
    updates.begin()
  })
  on(session, "begun", () => {
    tasks.open()
    connection.start()
  })
  on(session, "people", async () => {
    const { meet } = await fetched(import("./people/people.js"), i18n)
    await meet({ i18n, api, session, settings, filter, counts, mainMenu, intake, renew: () => rows.renew() })
  })

  showFilter()
  arrive(box, submit, session)
  connection.start()
}
