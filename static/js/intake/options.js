// @ts-check
// What can be chosen for a download: every option once, with its place in the form, when it applies, what it asks of
// the server and how it is said in words. And what is chosen: which this browser remembers, or for one request.

import { setText } from "../base/dom.js"
import { recall, remember } from "../base/preferences.js"

/** @typedef {import("../base/i18n.js").I18n} I18n */
/** @typedef {Record<string, any>} Chosen  by the names of options: a text or a number, a truth value, of `outputs` a list */
/** @typedef {{outputs: string[], quality: string, video_format: string, codec: string, audio_format: string} & Record<string, any>} Request  fields of `POST /api/process` */

/**
 * @typedef {object} Option
 * @property {"what" | "good" | "part" | "extras" | "when"} group
 * @property {"choice" | "tick" | "ticks" | "text" | "time" | "moment"} kind
 * @property {string[]} [values]  of a choice, the usual one first; of ticks
 * @property {string} [hint]  what a field may hold, shown in it while it is empty
 * @property {string} [pattern]  of a text
 * @property {(chosen: Chosen) => boolean} [applies]  always, if it is left out
 * @property {true} [isForOnce]  for the next request; all others are remembered
 * @property {true} [isAlwaysSent]
 * @property {(value: any, chosen: Chosen) => object} [asks]  fields of the request, if they are not called like the option
 * @property {(value: any, i18n: I18n, chosen: Chosen) => string} [says]  what stands in the line above the form
 */

/** The end of a clip that has none: later than the end of any film. */
const BEHIND_ALL = "99:00:00"
/** Choice -> categories of SponsorBlock that are cut out of a film. @type {Record<string, string[]>} */
const SPONSORS = {
  sponsor: ["sponsor"],
  most: ["sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler"],
}

const makesVideo = (/** @type {Chosen} */ { outputs }) => outputs.includes("video")
const makesAudio = (/** @type {Chosen} */ { outputs }) => outputs.includes("audio")
const makesMedia = (/** @type {Chosen} */ chosen) => makesVideo(chosen) || makesAudio(chosen)
const hasSound = (/** @type {Chosen} */ chosen) => makesAudio(chosen) || (makesVideo(chosen) && !chosen.mute)
const hasClip = (/** @type {Chosen} */ { clip_start, clip_end }) => Boolean(clip_start || clip_end)
const wantsSubtitles = (/** @type {Chosen} */ { outputs, embed }) =>
  outputs.includes("subtitles") || Boolean(embed)

/** @type {Record<string, Option>} */
export const OPTIONS = {
  outputs: {
    group: "what",
    kind: "ticks",
    values: ["video", "audio", "thumbnail", "subtitles"],
    isAlwaysSent: true,
  },
  video_format: {
    group: "what",
    kind: "choice",
    values: ["mp4", "mkv", "webm", "any"],
    applies: makesVideo,
    isAlwaysSent: true,
  },
  mute: { group: "what", kind: "tick", applies: makesVideo, says: (_, i18n) => i18n.t("wish.mute") },
  audio_format: {
    group: "what",
    kind: "choice",
    values: ["mp3", "m4a", "opus", "flac", "wav", "best"],
    applies: makesAudio,
    isAlwaysSent: true,
  },
  quality: {
    group: "good",
    kind: "choice",
    values: ["best", "2160", "1440", "1080", "720", "480", "360", "worst"],
    applies: (chosen) => makesMedia(chosen) && !chosen.format,
    isAlwaysSent: true,
  },
  format: { group: "good", kind: "choice", values: [""], applies: makesMedia, isForOnce: true },
  codec: {
    group: "good",
    kind: "choice",
    values: ["auto", "h264", "h265", "vp9", "av1"],
    applies: (chosen) => makesVideo(chosen) && !chosen.format,
    isAlwaysSent: true,
    says: (value) => (value === "auto" ? "" : value.toUpperCase()),
  },
  audio_quality: {
    group: "good",
    kind: "choice",
    values: ["", "320", "256", "192", "128", "96", "64"],
    applies: (chosen) => makesAudio(chosen) && !["flac", "wav", "best"].includes(chosen.audio_format),
    asks: (value) => ({ audio_quality: Number(value) }),
    says: (value) => `${value} kbit/s`,
  },
  audio_language: {
    group: "good",
    kind: "text",
    hint: "en",
    pattern: "[A-Za-z0-9]{1,8}(-[A-Za-z0-9]{1,8}){0,3}",
    applies: hasSound,
    says: (value) => value,
  },
  clip_start: {
    group: "part",
    kind: "time",
    hint: "0:00",
    applies: makesMedia,
    isForOnce: true,
    asks: () => ({}),
  },
  clip_end: {
    group: "part",
    kind: "time",
    hint: "1:30",
    applies: makesMedia,
    isForOnce: true,
    asks: () => ({}),
  },
  exact: {
    group: "part",
    kind: "tick",
    applies: (chosen) => makesMedia(chosen) && hasClip(chosen),
    isForOnce: true,
    asks: () => ({}),
  },
  sponsorblock: {
    group: "part",
    kind: "choice",
    values: ["", "sponsor", "most"],
    applies: makesMedia,
    asks: (value) => (value in SPONSORS ? { sponsorblock: SPONSORS[value] } : {}),
    says: (_, i18n) => i18n.t("wish.sponsorblock"),
  },
  playlist: { group: "part", kind: "tick", isForOnce: true, says: (_, i18n) => i18n.t("wish.playlist") },
  embed: {
    group: "extras",
    kind: "tick",
    applies: makesVideo,
    asks: () => ({}),
    says: (_, i18n) => i18n.t("wish.embed"),
  },
  languages: {
    group: "extras",
    kind: "text",
    hint: "en, zh-Hans",
    applies: wantsSubtitles,
    asks: () => ({}),
    says: (value, i18n) => i18n.t("wish.subtitles", { languages: listed(value).join(", ") }),
  },
  automatic: {
    group: "extras",
    kind: "tick",
    applies: wantsSubtitles,
    asks: () => ({}),
    says: (_, i18n) => i18n.t("wish.automatic"),
  },
  embed_metadata: {
    group: "extras",
    kind: "tick",
    applies: makesMedia,
    says: (_, i18n) => i18n.t("wish.embed_metadata"),
  },
  split_chapters: {
    group: "extras",
    kind: "tick",
    applies: makesMedia,
    says: (_, i18n) => i18n.t("wish.split_chapters"),
  },
  live: {
    group: "when",
    kind: "tick",
    applies: (chosen) => !hasClip(chosen),
    isForOnce: true,
    asks: () => ({ live: "wait" }),
    says: (_, i18n) => i18n.t("wish.live"),
  },
  paused: {
    group: "when",
    kind: "tick",
    isForOnce: true,
    asks: () => ({ auto_start: false }),
    says: (_, i18n) => i18n.t("wish.paused"),
  },
  start_at: {
    group: "when",
    kind: "moment",
    applies: ({ paused }) => !paused,
    isForOnce: true,
    asks: (value) => ({ start_at: new Date(value).toISOString() }),
    says: (value, i18n) => i18n.t("wish.start_at", { time: i18n.format.moment(new Date(value)) }),
  },
  cookies: {
    group: "when",
    kind: "choice",
    values: [""],
    isForOnce: true,
    says: (name, i18n) => i18n.t("wish.cookies", { name }),
  },
}
const NAMES = Object.keys(OPTIONS)
const FOR_ONCE = NAMES.filter((name) => OPTIONS[name].isForOnce)
/** What this browser remembers. */
const LASTING = NAMES.filter((name) => !OPTIONS[name].isForOnce)
const REMEMBERED = "options"

/** What nobody has chosen otherwise. @type {Chosen} */
export const DEFAULTS = Object.fromEntries(
  NAMES.map((name) => {
    const { kind, values = [] } = OPTIONS[name]
    return [name, kind === "ticks" ? ["video", "audio"] : kind === "tick" ? false : (values[0] ?? "")]
  }),
)
const SENT_BY_DEFAULT = Object.fromEntries(
  NAMES.filter((name) => OPTIONS[name].isAlwaysSent).map((name) => [name, DEFAULTS[name]]),
)

/**
 * @param {string} name
 * @param {Chosen} chosen
 */
export const doesApply = (name, chosen) => OPTIONS[name].applies?.(chosen) ?? true

/**
 * The request: some fields always, others only where something was chosen that applies.
 * @param {Chosen} chosen
 * @returns {Request}
 */
export function requestOf(chosen) {
  /** @type {Record<string, any>} */
  const request = { ...SENT_BY_DEFAULT }
  for (const name of NAMES) {
    const value = typeof chosen[name] === "string" ? chosen[name].trim() : chosen[name]
    if (!value || !doesApply(name, chosen)) continue
    Object.assign(request, OPTIONS[name].asks?.(value, chosen) ?? { [name]: value })
  }
  return /** @type {Request} */ ({ ...request, ...clipOf(chosen), ...subtitlesOf(chosen) })
}

/**
 * The request with a preset: its name, and the fields that differ from it.
 * @param {Request} request
 * @param {string} name
 * @param {Record<string, any>} preset
 */
export function besidePreset(request, name, preset) {
  const base = { ...SENT_BY_DEFAULT, ...preset }
  const isSame = (/** @type {string} */ key) => JSON.stringify(base[key]) === JSON.stringify(request[key])
  const others = Object.keys(request).filter((key) => !isSame(key))
  return { preset: name, ...Object.fromEntries(others.map((key) => [key, request[key]])) }
}

/**
 * "Best video as MP4 and MP3 audio", and what else differs from the usual.
 * @param {Chosen} chosen
 * @param {I18n} i18n
 */
export function sentenceOf(chosen, i18n) {
  const [first, ...more] = filesOf(chosen, i18n)
  const files = more.reduce((a, b) => i18n.t("wish.join", { a, b }), first ?? i18n.t("wish.nothing"))
  const said = NAMES.map((name) => {
    const { says } = OPTIONS[name]
    return says && chosen[name] && doesApply(name, chosen) ? says(chosen[name], i18n, chosen) : ""
  })
  const at = NAMES.indexOf("clip_start")
  return [files, ...said.slice(0, at), clipWords(chosen, i18n), ...said.slice(at)].filter(Boolean).join(" · ")
}

/**
 * The files that are made, each in words.
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
  const sound = audio_format === "best" ? i18n.t("wish.original") : audio_format.toUpperCase()
  if (outputs.includes("audio")) words.push(i18n.t("wish.audio", { format: sound }))
  const others = outputs.filter((/** @type {string} */ output) => !["video", "audio"].includes(output))
  return [...words, ...others.map((/** @type {string} */ output) => i18n.t(`kind.${output}`))]
}

/** @param {Chosen} chosen */
function clipOf(chosen) {
  const { clip_start, clip_end, exact } = chosen
  if (!hasClip(chosen) || !makesMedia(chosen)) return {}
  return { clip: { start: clip_start || "0:00", end: clip_end || BEHIND_ALL, ...(exact && { exact: true }) } }
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

/** @param {Chosen} chosen */
function subtitlesOf(chosen) {
  const list = listed(chosen.languages)
  const embed = chosen.embed && makesVideo(chosen)
  if (!wantsSubtitles({ ...chosen, embed }) || !(list.length || chosen.automatic || embed)) return {}
  return {
    subtitles: {
      ...(list.length && { languages: list }),
      ...(chosen.automatic && { automatic: true }),
      ...(embed && { embed: true }),
    },
  }
}

/** @param {string} languages */
const listed = (languages) => languages.split(/[,，\s]+/).filter(Boolean)

/**
 * What is chosen, and what the service offers for it. Fires "open" when the reader unfolds the form, "change" when
 * something is chosen or offered otherwise than by the form, and "clip" when the reader wants to mark a clip.
 */
export class Options extends EventTarget {
  /** @type {Chosen} */
  chosen = { ...DEFAULTS, ...pick(recall(REMEMBERED, {}), LASTING) }
  preset = ""
  /** @type {Record<string, Record<string, any>>} */
  presets = {}
  /** What the service offers, by the names of options. @type {Record<string, [value: string, label: string][]>} */
  offers = { format: [], cookies: [] }
  /** Whether the film whose link is in the box can be played here. */
  canMarkClip = false
  #details
  #words
  #i18n

  /**
   * @param {HTMLDetailsElement} details
   * @param {I18n} i18n
   */
  constructor(details, i18n) {
    super()
    this.#details = details
    this.#words = /** @type {HTMLElement} */ (details.querySelector("[data-part=chosen]"))
    this.#i18n = i18n
    details.addEventListener("toggle", () => this.dispatchEvent(new Event(details.open ? "open" : "change")))
    this.describe()
  }

  /** As fields of `POST /api/process`. */
  get request() {
    const request = requestOf(this.chosen)
    return this.preset ? besidePreset(request, this.preset, this.presets[this.preset]) : request
  }

  /** Whether a link to a list gives all its entries. */
  get isOfLists() {
    return Boolean(this.chosen.playlist || this.presets[this.preset]?.playlist)
  }

  /** Whether the form is unfolded. */
  get isOpen() {
    return this.#details.open
  }

  get isWithoutOutputs() {
    return !this.chosen.outputs.length
  }

  /** What is chosen, in words. */
  get words() {
    return sentenceOf(this.chosen, this.#i18n)
  }

  /** Say on the folded line what is chosen. */
  describe() {
    setText(this.#words, this.words)
  }

  /** Unfold, and go to the choice without which nothing can be made. */
  askForOutputs() {
    this.#details.open = true
    this.dispatchEvent(new Event("outputs"))
  }

  /** @param {Chosen} values  by the names of options, for the reader to see */
  put(values) {
    Object.assign(this.chosen, values)
    this.#details.open = true
    this.#changed()
  }

  /**
   * The reader has chosen something in the form.
   * @param {string} name
   * @param {any} value
   */
  choose(name, value) {
    this.chosen[name] = value
    this.#changed()
    if (!this.preset && LASTING.includes(name)) remember(REMEMBERED, pick(this.chosen, LASTING))
  }

  /** @param {string} name  "": none, so what this browser remembers holds again */
  choosePreset(name) {
    this.preset = name in this.presets ? name : ""
    const base = this.preset ? this.presets[name] : recall(REMEMBERED, {})
    Object.assign(this.chosen, pick(DEFAULTS, LASTING), pick(base, LASTING))
    this.#changed()
  }

  /** What this browser remembers of what is chosen. */
  get lasting() {
    return pick(this.chosen, LASTING)
  }

  /** @param {Chosen} values  all that this browser is to remember; what is missing is as usual */
  fill(values) {
    const lasting = pick(values, LASTING)
    remember(REMEMBERED, lasting)
    this.preset = ""
    Object.assign(this.chosen, pick(DEFAULTS, LASTING), lasting)
    this.#changed()
  }

  /** Choose as a browser does that remembers nothing. */
  reset() {
    this.fill({})
  }

  /** Reset what applies to one request, which is being sent; return what was chosen of it. */
  forget() {
    const before = pick(this.chosen, FOR_ONCE)
    Object.assign(this.chosen, pick(DEFAULTS, FOR_ONCE))
    this.#details.open = false
    this.#changed()
    return before
  }

  /**
   * Put back what `forget` has returned, unless the reader has chosen something for other links meanwhile.
   * @param {Chosen} before
   */
  restore(before) {
    if (FOR_ONCE.some((name) => this.chosen[name])) return
    Object.assign(this.chosen, before)
    this.#changed()
  }

  /** @param {Record<string, Record<string, any>>} presets */
  offerPresets(presets) {
    this.presets = presets
    if (!(this.preset in presets)) this.preset = ""
    this.#changed()
  }

  /**
   * @param {string} name
   * @param {[value: string, label: string][]} choices
   */
  offer(name, choices) {
    this.offers[name] = choices
    if (!choices.some(([value]) => value === this.chosen[name])) this.chosen[name] = ""
    this.#changed()
  }

  /** @param {boolean} canMarkClip */
  offerPlayer(canMarkClip) {
    if (this.canMarkClip === canMarkClip) return
    this.canMarkClip = canMarkClip
    this.#changed()
  }

  #changed() {
    this.describe()
    this.dispatchEvent(new Event("change"))
  }
}

/**
 * @param {Record<string, any>} values
 * @param {string[]} names
 */
const pick = (values, names) =>
  Object.fromEntries(names.filter((name) => isFit(name, values[name])).map((name) => [name, values[name]]))

/**
 * Whether a stored value is one that this option may have: another release may have stored it.
 * @param {string} name
 * @param {unknown} value
 */
function isFit(name, value) {
  const { kind, values = [] } = OPTIONS[name]
  if (kind === "ticks") {
    return Array.isArray(value) && value.length > 0 && value.every((each) => values.includes(each))
  }
  if (kind === "tick") return value !== undefined
  return typeof value === "string" && (kind !== "choice" || values.length < 2 || values.includes(value))
}
