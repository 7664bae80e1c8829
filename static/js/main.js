// @ts-check
// What happens on the page, and what follows from it.

import { closeDialogs } from "./dialogs.js"
import { byId, on } from "./dom.js"
import { keepFocus } from "./focus.js"
import { arrive, keepShell, playNamed } from "./home.js"
import { Keys } from "./keys.js"
import { listen } from "./listening.js"
import { MainMenu } from "./mainmenu.js"
import {
  actions,
  agenda,
  announcer,
  api,
  box,
  connection,
  counts,
  deeds,
  display,
  feed,
  filter,
  hold,
  i18n,
  intake,
  list,
  listRoot,
  menu,
  notices,
  opening,
  pages,
  player,
  readiness,
  rows,
  selection,
  session,
  settings,
  submit,
  summary,
  tasks,
  together,
  undo,
  view,
} from "./parts.js"

const lines = {
  filtered: byId("filtered", HTMLElement),
  paused: byId("paused", HTMLElement),
  retry: byId("retry-failed", HTMLElement),
}
/** Whether the filter may hide the tasks that were sent last. */
let isHidden = false

function showLines() {
  keepFocus(listRoot, () => {
    lines.filtered.hidden = !isHidden
    lines.paused.hidden = !counts.isPaused
    lines.retry.hidden = filter.rule.choice !== "failed" || !counts.stages.failed
  })
}

new MainMenu({ menu, session, settings, counts, together, undo, i18n })
new Keys({ root: listRoot, rows, deeds, selection, list, box, i18n })
listen(listRoot, rows, deeds, { selection, view })

// What comes in.

on(feed, "task", (task) => tasks.merge(task))
on(feed, "removed", (id) => tasks.remove(id))
on(feed, "ended", () => session.want())
on(actions, "told", () => connection.told())
on(actions, "busy", (id) => rows.row(id)?.busy(actions.isBusy(id)))
on(actions, "refused", ({ id, message }) => {
  rows.row(id)?.say(message)
  announcer.say(message)
})
on(undo, "change", (id) => rows.row(id)?.refresh(tasks.has(id)))
on(submit, "task", (task) => tasks.merge(task) && connection.told())
on(submit, "done", (sent) => {
  hold.end() // the reader looks for the new tasks in the list
  isHidden = sent.taken > 0 && !filter.rule.isAll
  showLines()
  announcer.say(i18n.t("announce.sent", sent))
})

on(display, "change", (change) => {
  opening.changed(change.task)
  if (change.before?.stage !== change.task.stage) counts.stale()
  announcer.changed(change)
  notices.changed(change)
})
on(tasks, "removed", (ids) => {
  undo.gone(ids)
  for (const id of ids) selection.drop(id)
  counts.stale()
})
on(selection, "change", () => rows.ids.forEach((id) => rows.row(id)?.select(selection.has(id))))
on(counts, "change", () => {
  showLines()
  summary.show(list)
})
on(agenda, "answered", ({ question }) => {
  if (question !== "first") return
  playNamed(api, player)
  keepShell()
  counts.ask()
  readiness.start()
})
on(notices, "seen", () => display.show())
on(connection, "back", () => submit.back())
on(connection, "away", () => {
  for (const id of rows.ids) rows.row(id)?.refresh(tasks.has(id))
  summary.show(list)
})
on(api, "unreachable", () => connection.doubt())

// What the reader does.

filter.addEventListener("change", () => {
  isHidden = false
  selection.clear()
  showLines()
  listRoot.toggleAttribute("data-filtered", !filter.rule.isAll)
  listRoot.ariaBusy = "true"
  connection.list()
})
for (const button of document.querySelectorAll("#clear-filter, #filtered [data-part=clear]")) {
  button.addEventListener("click", () => filter.clear())
}
byId("from-elsewhere", HTMLButtonElement).addEventListener("click", () => settings.openElsewhere())
lines.paused.querySelector("button")?.addEventListener("click", () => counts.pause(false))
lines.retry.addEventListener("click", () => together.retryFailed())
rows.addEventListener("end", () => pages.hasMore && agenda.add("more"))

settings.addEventListener("language", () => {
  i18n.translate(document)
  intake.describe()
  readiness.show()
  notices.show()
  together.show()
  opening.clear()
  rows.renew()
  connection.renew() // the server's sentences come in the new language
})

session.addEventListener("wanted", () => {
  connection.stop()
  tasks.close()
  counts.clear()
  readiness.stop()
  selection.clear()
  pages.clear()
  opening.clear()
  menu.close()
  closeDialogs()
  announcer.hush()
  display.begin()
})
session.addEventListener("begun", () => {
  tasks.open()
  connection.start()
})

listRoot.toggleAttribute("data-filtered", !filter.rule.isAll)
arrive(box, submit, session)
connection.start()
