// @ts-check
// The finished files of a task: a link to save each, and a button to play what this browser can play.

import { fromTemplate, setText } from "./dom.js"
import { titleOf, webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

/**
 * @param {Task} task
 * @param {import("./i18n.js").I18n} i18n
 */
export function fileRows(task, i18n) {
  return Object.keys(task.files).flatMap((kind) => {
    const link = webLink(task.files[kind])
    return link ? [fileRow(task, kind, link, i18n)] : []
  })
}

/**
 * The element that plays a file of this type here, or null.
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
 * @param {Task} task
 * @param {string} kind
 * @param {URL} link
 * @param {import("./i18n.js").I18n} i18n
 */
function fileRow(task, kind, link, i18n) {
  const { element, parts } = fromTemplate("file", i18n)
  const info = task.file_info?.[kind]
  const name = { kind: i18n.t(`kind.${kind}`), title: titleOf(task) }
  const extension = link.pathname.split(".").at(-1) ?? ""
  setText(parts.kind, name.kind)
  setText(parts.detail, [extension.toUpperCase(), info ? i18n.format.size(info.size) : ""].join(" ").trim())
  parts.save.href = link.href
  parts.save.setAttribute("aria-label", i18n.t("file.save", name))
  parts.play.dataset.kind = kind
  parts.play.setAttribute("aria-label", i18n.t("file.play", name))
  parts.play.hidden = playerFor(kind, info?.type) === null
  return element
}
