// @ts-check
// The table of all actions on a task: the icon and key of each, when it applies, and its request to the
// server. Its words are `action.<name>` in the catalogues.

import { isRecorded } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */

/**
 * @typedef {object} Action
 * @property {(task: Task) => boolean} applies
 * @property {string} [icon]  a symbol of index.html, if it is not called like the action
 * @property {string} [key]
 * @property {[method: string, path: string, body?: unknown]} [asks]  a request for the task; without one the page does it
 * @property {true} [isForMany]  it can be done with all that are selected
 * @property {true} [isCalm]  what it does not interrupt goes on by itself: its button is quiet
 * @property {true} [hasWords]  its button has words, however narrow the screen
 */

/** The remedies for which the page has words, the most helpful first; others are left to other clients. */
const REMEDIES = [
  "use_cookies",
  "take_list",
  "take_first",
  "record_live",
  "wait_for_live",
  "lower_quality",
  "take_audio",
  "take_video",
  "any_format",
  "accept_gaps",
  "automatic_subtitles",
  "keep_original",
  "without_clip",
  "without_cookies",
  "retry_later",
]
/** Failures that another attempt would only repeat. */
const HOPELESS = ["drm_protected", "unsupported_url", "blocked_address", "is_playlist", "too_large"]

/**
 * For each status, the stage as which an unknown stage of a later release is treated.
 * @type {Record<string, string>}
 */
const STAND_INS = { processing: "info", completed: "completed", error: "failed" }
const STAGES = ["queued", "info", "download", "convert", "paused", "completed", "failed", "cancelled"]

/** @param {Task} task */
const stageOf = ({ stage, status }) => STAGES.includes(stage) ? stage : STAND_INS[status]
/** @param {string[]} stages */
const during = (...stages) => (/** @type {Task} */ task) => stages.includes(stageOf(task))
const isWaiting = during("queued", "paused")
const hasFailed = during("failed")
/** @param {Task} task */
const hasFiles = ({ files }) => Object.keys(files).length > 0
/** @param {Task} task  a list; other tasks have no `entries` */
const hasFailedEntries = ({ entries }) => (entries?.failed ?? 0) > 0
/** @param {Task} task */
const hasSavedEntries = ({ entries }) => (entries?.completed ?? 0) > 0
/** @param {Task} task  one that is still downloading may be playable in part */
const isPlayed = ({ files, stage, entries }) =>
  !entries && (stage === "download" || "video" in files || "audio" in files)
const always = () => true
const never = () => false

/**
 * All actions. The first that applies has a button in the row; the others are in the menu.
 * @type {Record<string, Action>}
 */
export const ACTIONS = {
  choose: { applies: ({ error_code }) => error_code === "is_playlist", hasWords: true },
  ...Object.fromEntries(REMEDIES.map((name) => [
    `remedy.${name}`,
    /** @type {Action} */ ({
      applies: (task) => hasFailed(task) && Boolean(task.remedies?.includes(name)),
      asks: ["POST", `remedies/${name}`],
      icon: "remedy",
      hasWords: true,
    }),
  ])),
  finish: { applies: isRecorded, asks: ["POST", "finish"], hasWords: true },
  pause: {
    applies: during("queued", "info", "download", "convert"),
    key: "p",
    asks: ["POST", "pause"],
    isForMany: true,
    isCalm: true,
  },
  resume: { applies: during("paused"), key: "p", asks: ["POST", "resume"], isForMany: true },
  retry_entries: { applies: hasFailedEntries, icon: "retry", key: "r", hasWords: true },
  save_entries: { applies: hasSavedEntries, icon: "save", key: "s" },
  save: { applies: (task) => stageOf(task) === "completed" && hasFiles(task), key: "s" },
  start: { applies: isWaiting, key: "g", asks: ["POST", "start"] },
  cancel: {
    applies: during("queued", "info", "download", "convert", "paused"),
    key: "c",
    asks: ["POST", "cancel"],
    isForMany: true,
  },
  play: { applies: isPlayed, key: " " },
  send: { applies: (task) => stageOf(task) === "completed" && hasFiles(task) && !task.entries, key: "e" },
  again: {
    applies: (task) => stageOf(task) === "completed" && !task.entries,
    icon: "retry",
    key: "r",
    asks: ["POST", "retry"],
  },
  retry: {
    applies: (task) =>
      during("failed", "cancelled")(task) && !HOPELESS.includes(task.error_code ?? "") &&
      !hasFailedEntries(task),
    key: "r",
    asks: ["POST", "retry"],
    isForMany: true,
    hasWords: true,
  },
  first: { applies: isWaiting, key: "t", asks: ["PATCH", "", { position: "first" }] },
  last: { applies: isWaiting, key: "b", asks: ["PATCH", "", { position: "last" }] },
  select: { applies: always, icon: "check", key: "x" },
  log: { applies: always, key: "l" },
  copy: { applies: () => Boolean(globalThis.navigator?.clipboard) },
  delete: { applies: always, key: "Delete", isForMany: true },
  // These actions are in no menu.
  open: { applies: always, key: "Enter" },
  more: { applies: always, key: "m" },
  undo: { applies: never, key: "z" },
}

/** These actions are in the menu of every task, and never have the button in the row. */
const OF_ALL = ["select", "log", "copy", "delete"]
const IN_NO_MENU = ["open", "more", "undo"]

/**
 * Return the actions that apply to a task now, the most useful first.
 * @param {Task} task
 */
function possible(task) {
  // The service lists the most helpful remedy first.
  const remedies = (task.remedies ?? []).map((name) => `remedy.${name}`)
  const found = Object.keys(ACTIONS).filter((name) =>
    !IN_NO_MENU.includes(name) && ACTIONS[name].applies(task)
  )
  const at = found.findIndex((name) => name.startsWith("remedy."))
  if (at < 0) return found
  const offered = remedies.filter((name) => found.includes(name))
  return [...found.slice(0, at), ...offered, ...found.slice(at + offered.length)]
}

/**
 * Return the action for the button in the row, or "".
 * @param {Task} task
 */
export function primaryOf(task) {
  const [first = ""] = possible(task)
  return OF_ALL.includes(first) ? "" : first
}

/**
 * Return all other actions, for the menu.
 * @param {Task} task
 */
export const menuOf = (task) => possible(task).filter((name) => name !== primaryOf(task))

/**
 * Return whether this action applies to the task now.
 * @param {string} name
 * @param {Task} task
 */
export const applies = (name, task) => ACTIONS[name].applies(task)

/**
 * Return the action of a key on a task, or undefined.
 * @param {string} key
 * @param {Task} task
 */
export const ofKey = (key, task) =>
  Object.keys(ACTIONS).find((name) => ACTIONS[name].key === key && ACTIONS[name].applies(task))

/**
 * @param {string} name
 * @param {Task} task
 * @param {import("../base/i18n.js").I18n} i18n
 */
export const textOf = (name, task, i18n) => i18n.t(`action.${name}`, { n: task.entries?.failed ?? 0 })

/** @param {string} name */
export const iconOf = (name) => ACTIONS[name]?.icon ?? name
