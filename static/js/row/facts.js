// @ts-check
// The facts that a row shows of its task in one line, the most important first.

import { hostOf, isFinal, isRecorded, isRunning, owners, titleOf, VISIBLE } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("../tasks/task.js").Place} Place */
/** @typedef {import("../base/i18n.js").I18n} I18n */

/**
 * Return the length of the progress bar in percent, by the bytes or the completed entries that the row shows.
 * null: the task goes on, and nobody knows how far, as with a recording; undefined: there is no bar.
 * @param {Task} task
 * @param {number | undefined} before what was drawn in the same attempt: if the total grows, the bar stands
 * still
 */
export function drawnOf(task, before) {
  const { status, entries, downloaded_bytes, total_bytes } = task
  if (status !== "processing" || isRecorded(task)) return undefined
  const [done, total] = entries ? [entries.completed, entries.total] : [downloaded_bytes, total_bytes]
  if (done !== undefined && total) return Math.max(before ?? 0, Math.min(100, (100 * done) / total))
  return isRunning(task) ? null : before
}

/**
 * @param {Task} task
 * @param {I18n} i18n
 * @param {object} [around]
 * @param {boolean} [around.isAway]  the server does not answer: nobody knows how fast it goes
 * @param {Task} [around.list]  the list that the task is an entry of, to be named
 * @param {number} [around.place]  in the queue, from 1; 0: nobody knows
 * @param {number} [around.minutes]  until it begins; 0: nobody knows
 */
export function factsOf(task, i18n, { isAway = false, list, place = 0, minutes = 0 } = {}) {
  const ofList = [...(list ? [i18n.t("card.in_list", { list: titleOf(list) })] : []), owners.said(task)]
    .filter(
      Boolean,
    )
  if (task.status === "error") return [failureOf(task, i18n), ...listFacts(task, i18n), ...ofList]
  if (task.stage === "completed") {
    const waits = task.library?.state === "waiting" ? [placeOf(task.library, i18n)] : []
    return [...waits, ...listFacts(task, i18n), ...mediaFacts(task, i18n), ...ofList, ...sourceFacts(task)]
  }
  if (isRecorded(task)) return [...recordingFacts(task, i18n), ...ofList]
  if (isRunning(task)) return [...runningFacts(task, i18n, isAway), ...ofList]
  return [
    ...waitingFacts(task, i18n, place, minutes),
    ...listFacts(task, i18n),
    ...ofList,
    ...sourceFacts(task),
  ]
}

/**
 * Return what went wrong, in plain words. If the server's sentence is only an HTTP status, the page has a
 * better one.
 * @param {Task} task
 * @param {I18n} i18n
 */
export function failureOf({ error, error_code = "", message }, i18n) {
  const [, status = ""] = /^http_(\d{3})$/.exec(error_code) ?? []
  if (!status) return error || message
  const kind = ["404", "410"].includes(status)
    ? "gone"
    : status === "429"
    ? "busy"
    : status >= "500"
    ? "broken"
    : "refused"
  return i18n.t(`failure.${kind}`)
}

/** The reasons that keep files from the library, with their words. @type {Record<string, string>} */
const NOT_PLACED = {
  away: "library.away",
  full: "library.full",
  blocked: "library.blocked",
  files_gone: "library.files_gone",
}

/**
 * Return the place of the film in the library, or the reason why it is not there yet.
 * @param {Place} place
 * @param {I18n} i18n
 */
export function placeOf({ state, reason = "", path, paths }, i18n) {
  if (state === "placed") return paths[0] ?? ""
  if (reason === "blocked" && !path) return i18n.t("library.read_only")
  return i18n.t(NOT_PLACED[reason] ?? "library.waiting", path ? { path } : {})
}

/**
 * @param {Task} task
 * @param {I18n} i18n
 */
function recordingFacts({ started_at, downloaded_bytes }, i18n) {
  const elapsed = started_at ? Math.max(0, i18n.now() - Date.parse(started_at)) / 1000 : undefined
  return [
    i18n.t("card.recording"),
    ...(elapsed === undefined ? [] : [i18n.format.clock(elapsed)]),
    ...(downloaded_bytes ? [i18n.format.size(downloaded_bytes)] : []),
  ]
}

/**
 * @param {Task} task
 * @param {I18n} i18n
 * @param {boolean} isAway
 */
function runningFacts(task, i18n, isAway) {
  const { format } = i18n
  const { downloaded_bytes: done, total_bytes: total, speed, eta } = task
  if (task.stage !== "download") return [task.message, ...listFacts(task, i18n)]
  const facts = [...(task.waiting ? [reasonOf(task, i18n)] : []), ...listFacts(task, i18n)]
  if (done !== undefined) {
    facts.push(total ? `${format.size(done)} / ${format.size(total)}` : format.size(done))
  }
  if (speed !== undefined && !isAway) facts.push(format.speed(speed))
  if (eta !== undefined && !isAway) facts.push(i18n.t("card.eta", { time: format.clock(eta) }))
  return facts.length ? facts : [task.message]
}

/**
 * Count the entries of running lists that are before a task in the queue.
 * @param {Task} task
 * @param {Task[]} unfinished
 */
export function entriesBefore({ number, priority }, unfinished) {
  const running = unfinished.filter(isRunning)
  const lists = running.filter((each) => each.entries && each.number < number && each.priority >= priority)
  return lists.reduce((count, { task_id, entries }) => {
    const begun = running.filter(({ playlist_id }) => playlist_id === task_id).length
    return entries ? count + entries.total - entries.completed - entries.failed - begun : count
  }, 0)
}

/** The number of rounds of downloads that are simulated one by one. */
const ROUNDS = 3

/**
 * Estimate the minutes until the task at a place of the queue begins. The next download begins when one ends,
 * and is assumed to take as long as the running ones on average; 0 if none of them says when it ends.
 * @param {number} place from 1
 * @param {Task[]} unfinished
 */
export function minutesUntil(place, unfinished) {
  /** @type {number[]} */
  const ends = []
  let mean = 0
  for (const { stage, eta, total_bytes, speed } of unfinished) {
    if (stage !== "download" || eta === undefined) continue
    ends.push(eta)
    mean += total_bytes && speed ? total_bytes / speed : eta
  }
  const slots = ends.length
  if (!slots) return 0
  mean /= slots
  const skipped = Math.max(0, Math.floor((place - 1) / slots) - ROUNDS)
  for (let left = place - 1 - skipped * slots; left > 0; left -= 1) {
    ends[ends.indexOf(Math.min(...ends))] += mean
  }
  return Math.max(1, Math.round((Math.min(...ends) + skipped * mean) / 60))
}

/**
 * @param {Task} task
 * @param {I18n} i18n
 * @param {number} place
 * @param {number} minutes
 */
function waitingFacts(task, i18n, place, minutes) {
  const facts = [reasonOf(task, i18n)]
  if (place && !task.waiting) {
    facts[0] = place === 1 ? i18n.t("card.next") : i18n.t("card.place", { n: place })
    if (minutes >= 90) facts.push(i18n.t("card.hours", { n: Math.round(minutes / 60) }))
    else if (minutes) facts.push(i18n.t("card.minutes", { n: minutes }))
  }
  if (task.not_before && Date.parse(task.not_before) > i18n.now()) {
    const time = i18n.format.moment(new Date(task.not_before))
    facts.push(i18n.t(task.waiting === "not_live_yet" ? "card.begins" : "card.not_before", { time }))
  }
  if (task.priority) facts.push(i18n.t("card.priority", { n: signed(task.priority) }))
  if (task.downloaded_bytes) facts.push(i18n.format.size(task.downloaded_bytes))
  return facts
}

/**
 * Return what the task waits for, in words.
 * @param {Task} task
 * @param {I18n} i18n
 */
const reasonOf = (
  { waiting, message },
  i18n,
) => (waiting ? i18n.t(`waiting.${waiting}`, {}, message) : message)

/**
 * @param {Task} task
 * @param {I18n} i18n
 */
function listFacts({ entries, stage }, i18n) {
  if (!entries) return []
  const { truncated, ...counts } = entries
  // The entries were cancelled together with the list.
  const hasFailed = counts.failed && stage !== "cancelled"
  const text = i18n.t(hasFailed ? "card.entries_failed" : "card.entries", counts)
  return truncated ? [text, i18n.t("card.truncated")] : [text]
}

/**
 * @param {Task} task
 * @param {I18n} i18n
 */
function mediaFacts({ video_info: { duration, height }, files, file_info = {} }, i18n) {
  const bytes = Object.values(file_info).reduce((sum, { size = 0 }) => sum + size, 0)
  return [
    ...(duration ? [i18n.format.clock(duration)] : []),
    ...(height && "video" in { ...files, ...file_info } ? [`${height}p`] : []),
    ...(bytes ? [i18n.format.size(bytes)] : []),
  ]
}

/** @param {Task} task */
function sourceFacts(task) {
  const host = task.video_info.title || isFinal(task) ? hostOf(task) : ""
  return [task.video_info.uploader ?? "", host].filter((fact) => VISIBLE.test(fact))
}

/** @param {number} priority */
const signed = (priority) => (priority > 0 ? `+${priority}` : `−${-priority}`)
