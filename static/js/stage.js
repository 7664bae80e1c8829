// @ts-check
// What the player shows beside a film or a sound: subtitles, a cover, the kinds to choose from.

import { cuesIn } from "./cues.js"
import { kindName } from "./files.js"
import { webLink } from "./task.js"

/** @typedef {import("./task.js").Task} Task */

const SUBTITLE = "subtitle."

/**
 * @param {Task} task
 * @returns {HTMLElement[]}  none if there is no picture
 */
export function coverOf({ thumbnail, files }) {
  const link = webLink(thumbnail) ?? webLink(files.thumbnail)
  if (!link) return []
  if (!thumbnail) link.searchParams.set("inline", "1")
  return [Object.assign(new Image(), { src: link.href, alt: "", className: "cover" })]
}

/**
 * What to play, if there is more than one kind.
 * @param {string} kind
 * @param {boolean} checked
 * @param {import("./i18n.js").I18n} i18n
 */
export function choiceOf(kind, checked, i18n) {
  const [label, words] = [document.createElement("label"), document.createElement("span")]
  words.textContent = kindName(kind, i18n)
  const choice = document.createElement("input")
  label.append(Object.assign(choice, { type: "radio", name: "kind", value: kind, checked }), words)
  return label
}

/**
 * Add the subtitles. Those in the reader's language are shown, else the first; the browser's controls offer the others.
 * @param {Task} task
 * @param {HTMLMediaElement} media
 * @param {import("./api.js").Api} api
 * @param {import("./i18n.js").I18n} i18n
 */
export async function subtitle({ files }, media, api, i18n) {
  const kinds = Object.keys(files).filter((kind) => kind.startsWith(SUBTITLE))
  const shown = kinds.find((kind) => kind.startsWith(SUBTITLE + i18n.language)) ?? kinds[0]
  for (const kind of kinds) {
    const link = webLink(files[kind])
    const cues = cuesIn(link ? await api.text(link.href).catch(() => "") : "") // a film is watched without them, too
    if (!cues.length) continue
    const track = media.addTextTrack("subtitles", kindName(kind, i18n), kind.slice(SUBTITLE.length))
    for (const { start, end, text } of cues) track.addCue(new VTTCue(start, end, text))
    track.mode = kind === shown ? "showing" : "disabled"
  }
}
