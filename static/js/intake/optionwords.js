// @ts-check
// Describes the chosen options of a download in words.

import { BEHIND_ALL, DEFAULTS, doesApply, listed, OPTIONS, requestOf } from "./options.js"

/** @typedef {import("./options.js").Chosen} Chosen */
/** @typedef {import("../base/i18n.js").I18n} I18n */

/**
 * Option -> the words for its values; options that are not here are described with the files.
 * @type {Record<string, (value: any, i18n: I18n) => string>}
 */
const SAYS = {
  mute: (_, i18n) => i18n.t("wish.mute"),
  codec: (value) => (value === "auto" ? "" : value.toUpperCase()),
  audio_quality: (value) => `${value} kbit/s`,
  audio_language: (value) => value,
  sponsorblock: (_, i18n) => i18n.t("wish.sponsorblock"),
  playlist: (_, i18n) => i18n.t("wish.playlist"),
  embed: (_, i18n) => i18n.t("wish.embed"),
  languages: (value, i18n) => i18n.t("wish.subtitles", { languages: listed(value).join(", ") }),
  automatic: (_, i18n) => i18n.t("wish.automatic"),
  embed_metadata: (_, i18n) => i18n.t("wish.embed_metadata"),
  split_chapters: (_, i18n) => i18n.t("wish.split_chapters"),
  live: (_, i18n) => i18n.t("wish.live"),
  paused: (_, i18n) => i18n.t("wish.paused"),
  start_at: (value, i18n) => i18n.t("wish.start_at", { time: i18n.format.moment(new Date(value)) }),
  library: (_, i18n) => i18n.t("wish.library"),
  cookies: (name, i18n) => i18n.t("wish.cookies", { name }),
}

/**
 * Return the chosen options for a request in the server's form.
 * @param {Record<string, any>} request
 */
export function chosenOf({ subtitles = {}, audio_quality, sponsorblock, live, ...request }) {
  const named = Object.keys(DEFAULTS).filter((name) => name in request)
  const sponsors = (OPTIONS.sponsorblock.values ?? []).find((value) =>
    JSON.stringify(OPTIONS.sponsorblock.asks?.(value, DEFAULTS)) === JSON.stringify({ sponsorblock })
  )
  return {
    ...DEFAULTS,
    ...Object.fromEntries(named.map((name) => [name, request[name]])),
    languages: (subtitles.languages ?? []).join(", "),
    automatic: Boolean(subtitles.automatic),
    embed: Boolean(subtitles.embed),
    audio_quality: audio_quality ? String(audio_quality) : "",
    sponsorblock: sponsors ?? "",
    live: live === "wait",
  }
}

/**
 * Return words such as "Best video as MP4 and MP3 audio", and all options that differ from the usual.
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
export function sentenceOf(chosen, i18n) {
  const [first, ...more] = filesOf(chosen, i18n)
  const files = more.reduce((a, b) => i18n.t("wish.join", { a, b }), first)
  return [files, ...saidOf(Object.keys(SAYS), chosen, i18n)].join(" · ")
}

/**
 * Return words for the options beyond the three that are always visible.
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
export function othersOf(chosen, i18n) {
  const { outputs, format, video_format, audio_format } = chosen
  const exact = format ? i18n.t("wish.exact", { format }) : ""
  const files = [
    outputs.includes("video") && video_format !== DEFAULTS.video_format ? nameOf(video_format, i18n) : "",
    outputs.includes("audio") && audio_format !== DEFAULTS.audio_format
      ? i18n.t("wish.audio", { format: nameOf(audio_format, i18n) })
      : "",
    outputs.includes("thumbnail") ? i18n.t("kind.thumbnail") : "",
  ]
  const names = Object.keys(SAYS).filter((name) => OPTIONS[name].group !== "always")
  return [exact, ...files, ...saidOf(names, chosen, i18n)].filter(Boolean).join(" · ")
}

/**
 * @param {string[]} names  of options
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
function saidOf(names, chosen, i18n) {
  const said = names.map((name) =>
    chosen[name] && doesApply(name, chosen) ? SAYS[name](chosen[name], i18n) : ""
  )
  const at = names.indexOf("sponsorblock")
  return [...said.slice(0, at), clipWords(chosen, i18n), ...said.slice(at)].filter(Boolean)
}

/**
 * @param {string} format  of files
 * @param {I18n} i18n
 */
const nameOf = (format, i18n) =>
  ["any", "best"].includes(format) ? i18n.t("wish.original") : format.toUpperCase()

/**
 * Return words for each file that is made.
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
function filesOf({ outputs, quality, format, video_format, audio_format }, i18n) {
  const words = []
  if (outputs.includes("video")) {
    const named = /^\d/.test(quality) ? `${quality}p` : i18n.t(`wish.${quality}`)
    const values = {
      quality: format ? i18n.t("wish.exact", { format }) : named,
      format: video_format.toUpperCase(),
    }
    words.push(i18n.t(video_format === "any" ? "wish.video_any" : "wish.video", values))
  }
  if (outputs.includes("audio")) words.push(i18n.t("wish.audio", { format: nameOf(audio_format, i18n) }))
  const others = outputs.filter((/** @type {string} */ output) => !["video", "audio"].includes(output))
  return [...words, ...others.map((/** @type {string} */ output) => i18n.t(`kind.${output}`))]
}

/**
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
function clipWords(chosen, i18n) {
  const { clip } = requestOf(chosen)
  if (!clip) return ""
  const end = clip.end === BEHIND_ALL ? i18n.t("wish.the_end") : clip.end
  return i18n.t(clip.exact ? "wish.clip_exact" : "wish.clip", { start: clip.start, end })
}
