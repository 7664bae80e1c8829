// @ts-check
// The finished files of a task: links that save them, and elements that play them.

import { fromTemplate, setText } from "../base/dom.js"
import { titleOf, webLink } from "../tasks/task.js"

/** @typedef {import("../tasks/task.js").Task} Task */
/** @typedef {import("../base/i18n.js").I18n} I18n */

/** The kinds of files that can be played, the best first. */
const PLAYED = ["video", "audio"]

/**
 * Return the kinds of a task's files, the film first.
 * @param {Task} task
 */
export function kindsOf({ files }) {
  const kinds = Object.keys(files)
  return [...PLAYED.filter((kind) => kinds.includes(kind)), ...kinds.filter((kind) => !PLAYED.includes(kind))]
}

/**
 * Return whether this browser can play any file of a task.
 * @param {Task} task
 */
export const isPlayable = (task) => playableKinds(task).length > 0

/**
 * Return whether a clip can be marked in the player: only if times of the file are times of the source.
 * @param {Task} task
 */
export function isClippable(task) {
  const { stage, video_info: { cut, live } } = task
  if (cut || live) return false
  return isPlayable(task) ? stage === "completed" : stage === "download"
}

/** @param {Task} task */
export function playableKinds(task) {
  return PLAYED.filter((kind) => webLink(task.files[kind]) && playerFor(kind, task.file_info?.[kind]?.type))
}

/**
 * Return the element that plays a file of this type in this browser, or null.
 * @param {string} kind
 * @param {string | undefined} type
 */
export function playerFor(kind, type) {
  const name = (type ?? kind).split("/")[0]
  if (name !== "video" && name !== "audio") return null
  const player = document.createElement(name)
  return type && !player.canPlayType(type) ? null : player
}

/**
 * Make a link that saves one file under the title of its task; the title describes the link to screen
 * readers.
 * @param {Task} task
 * @param {string} kind
 * @param {I18n} i18n
 */
export function saveLink(task, kind, i18n) {
  const link = webLink(task.files[kind])
  return linkTo(
    task,
    i18n.t("file.save", { kind: kindName(kind, i18n) }),
    link,
    fileName(task, link?.pathname.split(".").at(-1) ?? ""),
    i18n,
  )
}

/**
 * Make a link that saves all files of a list as one archive.
 * @param {Task} task
 * @param {I18n} i18n
 */
export function saveAllLink(task, i18n) {
  const link = new URL(`api/download.zip?ids=${task.task_id}`, document.baseURI)
  return linkTo(task, i18n.t("action.save_entries"), link, fileName(task, "zip"), i18n)
}

/**
 * @param {Task} task
 * @param {string} words
 * @param {URL | null} link
 * @param {string} name  under which it is saved
 * @param {I18n} i18n
 */
function linkTo(task, words, link, name, i18n) {
  const { element, parts } = fromTemplate("save", i18n)
  if (link) /** @type {HTMLAnchorElement} */ (element).href = link.href
  element.setAttribute("download", name)
  element.setAttribute("aria-describedby", `title-${task.task_id}`)
  setText(parts.words, words)
  return element
}

/**
 * Name a kind of file: "video", "chapter 3", or "subtitles (en)" for `subtitle.en`.
 * @param {string} kind
 * @param {I18n} i18n
 */
export function kindName(kind, i18n) {
  const [what, which] = kind.split(/\.(.*)/s)
  if (what === "subtitle") return `${i18n.t("kind.subtitles")} (${which})`
  const name = i18n.t(`kind.${what}`, {}, what)
  return which ? `${name} ${which}` : name
}

/**
 * @param {Task} task
 * @param {string} extension
 */
function fileName(task, extension) {
  const stem = titleOf(task).replace(/[\p{Cc}\\/:*?"<>|]+/gu, " ").trim().slice(0, 120)
  return extension ? `${stem}.${extension}` : stem
}
