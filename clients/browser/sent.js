// @ts-check
// What was sent: kept in the browser's storage, for the service worker may be stopped at any moment; sent to the
// server under a key, so that a second try makes no second task; and followed until the server has ended it.

import { browser, text } from "./browser.js"
import { isOpen, newLink, updated } from "./link.js"
import { ask, readSettings, Refused } from "./server.js"
import { show } from "./show.js"

/** @typedef {import("./link.js").Link} Link */

const MOST = 50 // ended links that are remembered
const MOST_ASKED = 100 // tasks in one request
const PAUSE_MS = 2000
// Without news for so long: then the alarm is enough, and the service worker may sleep.
const QUIET_MS = 60_000
const ALARM = "follow"

/** @type {Promise<unknown>} */
let turn = Promise.resolve()
/** @type {Promise<void> | undefined} */
let running
let isAskedAgain = false
let lastNews = 0
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer

/**
 * Return the links that were sent, the newest first.
 * @returns {Promise<Link[]>}
 */
export async function readSent() {
  const { sent } = await browser.storage.local.get("sent")
  return sent ?? []
}

/**
 * Change the stored links. Changes wait for each other, because each reads what the one before has written.
 * @param {(sent: Link[]) => Link[]} how
 */
function change(how) {
  const changed = turn.then(async () => {
    const before = await readSent()
    const after = how(before)
    if (JSON.stringify(after) !== JSON.stringify(before)) {
      lastNews = Date.now()
      await browser.storage.local.set({ sent: after })
    }
    return after
  })
  turn = changed.catch(() => undefined)
  return changed
}

/** @param {string} key @param {(link: Link) => Link} how */
function changeOne(key, how) {
  return change((sent) => sent.map((link) => (link.key === key ? how(link) : link)))
}

/**
 * Remember the link, and send it as soon as the server takes it. An earlier entry of the same link is
 * forgotten.
 * @param {string} url
 * @param {string} title
 */
export async function send(url, title) {
  const link = newLink(url, title, (await readSettings()).preset)
  await change((sent) => {
    const others = sent.filter((each) => each.url !== url)
    const ended = others.filter((each) => !isOpen(each)).slice(MOST - 1)
    return [link, ...others.filter((each) => !ended.includes(each))]
  })
  await follow()
}

/** Note that the user has seen the end of this link. @param {string} key */
export async function markSeen(key) {
  await show(await changeOne(key, (link) => ({ ...link, isNew: false })))
}

/** @param {string} key */
export function forget(key) {
  return change((sent) => sent.filter((link) => link.key !== key))
}

/**
 * Send waiting links, ask the server about the others, show the result, and repeat this while a link is open.
 */
export function follow() {
  isAskedAgain = true
  clearTimeout(timer)
  running ??= rounds().finally(() => {
    running = undefined
  })
  return running
}

async function rounds() {
  /** @type {Refused | undefined} */
  let trouble
  // The alarm wakes the service worker even if it is stopped during the first round.
  if (!(await browser.alarms.get(ALARM))) await browser.alarms.create(ALARM, { periodInMinutes: 0.5 })
  while (isAskedAgain) {
    isAskedAgain = false
    trouble = undefined
    try {
      await sendWaiting()
      await askForNews()
    } catch (error) {
      if (!(error instanceof Refused)) throw error
      trouble = error
    }
    await show(await readSent(), trouble?.message)
  }
  if (!(await readSent()).some(isOpen)) await browser.alarms.clear(ALARM)
  else if (trouble?.remedy !== "settings" && Date.now() - lastNews < QUIET_MS) {
    timer = setTimeout(() => void follow(), PAUSE_MS)
  }
}

/** Send the waiting links, the oldest first. Throws `Refused` if a later try may succeed. */
async function sendWaiting() {
  const settings = await readSettings()
  const waiting = (await readSent()).filter((link) => link.status === "waiting").reverse()
  for (const link of waiting) {
    try {
      const task = await submit(settings, link)
      await changeOne(link.key, (sent) => updated(sent, task))
    } catch (error) {
      if (!(error instanceof Refused) || error.remedy !== "none") throw error
      await changeOne(link.key, (sent) => ({ ...sent, status: "error", error: error.message }))
    }
  }
}

/** @param {import("./server.js").Settings} settings @param {Link} link */
async function submit(settings, { key, url, title, preset }) {
  const wishes = { url, ...(title && { title }), ...(preset && { preset }) }
  const how = { method: "POST", body: JSON.stringify(wishes), headers: { "Idempotency-Key": key } }
  const task = await ask(settings, "/api/process", how)
  if (!task?.task_id) throw new Refused("settings", text("notClipwire", settings.server))
  return task
}

/**
 * Send a link of a private window once. Nothing of a private window is stored, so no second try is possible.
 * @param {string} url @param {string} title
 */
export async function sendUnremembered(url, title) {
  const settings = await readSettings()
  try {
    await submit(settings, newLink(url, title, settings.preset))
    await show(await readSent(), undefined, text("sentUnremembered"))
  } catch (error) {
    if (!(error instanceof Refused)) throw error
    // The other messages promise that the link will be sent later.
    const why = settings.server && error.remedy !== "later" ? `${error.message} ` : ""
    await show(await readSent(), why + text("notSent"))
  }
}

async function askForNews() {
  const settings = await readSettings()
  const open = (await readSent()).filter((link) => link.status === "processing")
  for (let at = 0; at < open.length; at += MOST_ASKED) {
    const asked = open.slice(at, at + MOST_ASKED)
    const answer = await ask(settings, `/api/tasks?ids=${asked.map((link) => link.id).join(",")}`)
    if (!Array.isArray(answer?.tasks)) throw new Refused("settings", text("notClipwire", settings.server))
    const tasks = new Map(answer.tasks.map((/** @type {any} */ task) => [task.task_id, task]))
    const ids = new Set(asked.map((link) => link.id))
    // A task that the server does not know any more was deleted there.
    const sent = await change((sent) =>
      sent
        .filter((link) => !ids.has(link.id) || tasks.has(link.id))
        .map((link) => (ids.has(link.id) ? updated(link, tasks.get(link.id)) : link))
    )
    for (const link of sent) if (ids.has(link.id) && !isOpen(link)) await tell(link)
  }
}

/**
 * Show one sentence about a link that has ended, if the user wants notifications.
 * @param {Link} link
 */
async function tell(link) {
  const { tells } = await readSettings()
  if (!tells || !(await browser.permissions.contains({ permissions: ["notifications"] }))) return
  await browser.notifications.create(link.key, {
    type: "basic",
    iconUrl: "icons/128.png",
    title: link.title || link.url,
    message: link.error ?? text("finished"),
  })
}
