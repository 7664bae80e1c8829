// @ts-check
// What the reader chose in the options, as a request, and in words.

/** @typedef {import("./i18n.js").I18n} I18n */
/** @typedef {Record<string, string | string[] | boolean>} Fields  by the names of the form */
/**
 * @typedef {{outputs: string[], quality: string, video_format: string, codec: string, audio_format: string} & Record<string, any>} Wishes  fields of `POST /api/process`
 */

/** @type {Wishes} */
export const DEFAULTS = {
  outputs: ["video", "audio"],
  quality: "best",
  video_format: "mp4",
  codec: "auto",
  audio_format: "mp3",
}
/** The end of a clip that has none: later than the end of any film. */
const BEHIND_ALL = "99:00:00"
/** Choice -> categories of SponsorBlock that are cut out of a film. @type {Record<string, string[]>} */
const SPONSORS = {
  sponsor: ["sponsor"],
  most: ["sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler"],
}

/**
 * The request: the usual fields always, others only where something was chosen.
 * @param {Fields} fields
 * @returns {Wishes}
 */
export function wishesOf(fields) {
  const text = (/** @type {string} */ name) => String(fields[name] ?? "").trim()
  const wishes = {
    outputs: /** @type {string[]} */ (fields.outputs),
    ...Object.fromEntries(
      ["quality", "video_format", "codec", "audio_format"].map((name) => [name, text(name)]),
    ),
    ...(text("format") && { format: text("format") }),
    ...(text("audio_quality") && { audio_quality: Number(text("audio_quality")) }),
    ...(text("audio_language") && { audio_language: text("audio_language") }),
    ...subtitlesOf(fields, text("languages")),
    ...clipOf(fields, text("clip_start"), text("clip_end")),
    ...(fields.embed_metadata && { embed_metadata: true }),
    ...(fields.split_chapters && { split_chapters: true }),
    ...(text("sponsorblock") in SPONSORS && { sponsorblock: SPONSORS[text("sponsorblock")] }),
    ...(text("cookies") && { cookies: text("cookies") }),
    ...(fields.live && { live: "wait" }),
    ...(fields.playlist && { playlist: true }),
    ...(fields.paused && { auto_start: false }),
    ...(text("start_at") && { start_at: new Date(text("start_at")).toISOString() }),
  }
  return /** @type {Wishes} */ (wishes)
}

/**
 * The request with a preset: its name, and the fields that differ from it.
 * @param {Wishes} wishes
 * @param {string} name
 * @param {Record<string, any>} preset
 */
export function besidePreset(wishes, name, preset) {
  const base = { ...DEFAULTS, ...preset }
  const isSame = (/** @type {string} */ key) => JSON.stringify(base[key]) === JSON.stringify(wishes[key])
  const others = Object.keys(wishes).filter((key) => !isSame(key))
  return { preset: name, ...Object.fromEntries(others.map((key) => [key, wishes[key]])) }
}

/**
 * "Best video as MP4 and MP3 audio", and what else differs from the usual.
 * @param {Wishes} wishes
 * @param {I18n} i18n
 */
export function sentenceOf(wishes, i18n) {
  const { outputs, codec, clip, subtitles, start_at } = wishes
  const end = clip?.end === BEHIND_ALL ? i18n.t("wish.the_end") : clip?.end
  const [first, ...more] = [...mainWords(wishes, i18n), ...otherKinds(outputs, i18n)]
  const files = more.reduce((a, b) => i18n.t("wish.join", { a, b }), first ?? i18n.t("wish.nothing"))
  const list = subtitles?.languages?.join(", ")
  return [
    files,
    codec !== "auto" && outputs.includes("video") ? codec.toUpperCase() : "",
    wishes.audio_quality ? `${wishes.audio_quality} kbit/s` : "",
    wishes.audio_language ?? "",
    list ? i18n.t("wish.subtitles", { languages: list }) : "",
    ...["automatic", "embed"].map((name) => (subtitles?.[name] ? i18n.t(`wish.${name}`) : "")),
    clip ? i18n.t(clip.exact ? "wish.clip_exact" : "wish.clip", { ...clip, end }) : "",
    ...["embed_metadata", "split_chapters", "sponsorblock", "live", "playlist"].map((name) =>
      wishes[name] ? i18n.t(`wish.${name}`) : ""
    ),
    wishes.cookies ? i18n.t("wish.cookies", { name: wishes.cookies }) : "",
    start_at ? i18n.t("wish.start_at", { time: i18n.format.moment(new Date(start_at)) }) : "",
    wishes.auto_start === false ? i18n.t("wish.paused") : "",
  ].filter(Boolean).join(" · ")
}

/**
 * @param {Wishes} wishes
 * @param {I18n} i18n
 */
function mainWords({ outputs, quality, format, video_format, audio_format }, i18n) {
  const words = []
  if (outputs.includes("video")) {
    const named = /^\d/.test(quality) ? `${quality}p` : i18n.t(`wish.${quality}`)
    const values = {
      quality: format ? i18n.t("wish.exact", { format }) : named,
      format: video_format.toUpperCase(),
    }
    words.push(i18n.t(video_format === "any" ? "wish.video_any" : "wish.video", values))
  }
  const sound = audio_format === "best" ? i18n.t("wish.original") : audio_format.toUpperCase()
  if (outputs.includes("audio")) words.push(i18n.t("wish.audio", { format: sound }))
  return words
}

/**
 * @param {string[]} outputs
 * @param {I18n} i18n
 */
const otherKinds = (outputs, i18n) =>
  outputs.filter((output) => !["video", "audio"].includes(output)).map((output) => i18n.t(`kind.${output}`))

/**
 * @param {Fields} fields
 * @param {string} languages
 */
function subtitlesOf({ automatic, embed }, languages) {
  const list = languages.split(/[,，\s]+/).filter(Boolean)
  if (!list.length && !automatic && !embed) return {}
  return {
    subtitles: {
      ...(list.length && { languages: list }),
      ...(automatic && { automatic: true }),
      ...(embed && { embed: true }),
    },
  }
}

/**
 * @param {Fields} fields
 * @param {string} start
 * @param {string} end
 */
function clipOf({ exact }, start, end) {
  if (!start && !end) return {}
  return { clip: { start: start || "0:00", end: end || BEHIND_ALL, ...(exact && { exact: true }) } }
}
