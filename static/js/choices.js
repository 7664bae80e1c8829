// @ts-check
// What can be done with a task in its stage: one thing first, the rest in the menu. Names of actions and of words
// in the catalogues (`action.<name>`) are the same.

/** @typedef {import("./task.js").Task} Task */

/** Remedies for which the page has words; others are left to other clients. */
const REMEDIES = [
  "accept_gaps",
  "any_format",
  "automatic_subtitles",
  "keep_original",
  "lower_quality",
  "record_live",
  "retry_later",
  "take_audio",
  "take_first",
  "take_list",
  "take_video",
  "use_cookies",
  "wait_for_live",
  "without_clip",
  "without_cookies",
]

/** @type {Record<string, string[]>} */
const MENU = {
  queued: ["pause", "cancel", "first", "last"],
  info: ["pause", "cancel"],
  download: ["finish", "pause", "cancel", "play"],
  convert: ["pause", "cancel"],
  paused: ["resume", "cancel", "first", "last"],
  completed: ["save", "play", "again"],
  failed: ["retry"],
  cancelled: ["retry"],
}

/** Status -> the stage that stands in for one of a later release. @type {Record<string, string>} */
const STAND_INS = { processing: "info", completed: "completed", error: "failed" }

/**
 * The first thing to do; "save" is a link, "remedy.<name>" one of the task's own, "" nothing at all.
 * @param {Task} task
 */
export function primaryOf(task) {
  const [first] = choicesOf(task)
  return first ?? ""
}

/**
 * All the other things to do.
 * @param {Task} task
 */
export function menuOf(task) {
  const [, ...others] = choicesOf(task)
  return [...others, "select", "log", "copy", "delete"]
}

/** @param {Task} task */
function choicesOf(task) {
  const remedies = (task.remedies ?? []).filter((name) => REMEDIES.includes(name)).map((name) =>
    `remedy.${name}`
  )
  const usual = MENU[task.stage] ?? MENU[STAND_INS[task.status]]
  const isList = task.error_code === "is_playlist"
  const choices = [
    ...(isList ? ["choose"] : []),
    ...(task.stage === "failed" ? remedies : []),
    ...usual,
  ]
  const isLive = Boolean(task.video_info.live) && task.stage === "download"
  return choices.filter((name) =>
    name === "finish"
      ? isLive
      : name === "play"
      ? isPlayed(task)
      : name === "save"
      ? Object.keys(task.files).length > 0
      : true
  )
}

/** @param {Task} task  one that is still downloading may be playable in part */
const isPlayed = ({ files, stage }) => stage === "download" || "video" in files || "audio" in files
