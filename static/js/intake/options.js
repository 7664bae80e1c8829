// @ts-check
// The options of a download: a table with each option once, its place in the form, when it applies, and the
// fields of the request that it sets. And the chosen options, which this browser remembers or which are for
// one request.

import { recall, remember } from "../base/preferences.js"

/** @typedef {{isVideo?: boolean, isLive?: boolean}} Known  of the one link in the box; all false: nothing is known */
/** @typedef {Record<string, any>} Chosen  by the names of options: a text or a number, a truth value, of `outputs` a list */
/** @typedef {{outputs: string[], quality: string, video_format: string, codec: string, audio_format: string} & Record<string, any>} Request  fields of `POST /api/process` */

/**
 * @typedef {object} Option
 * @property {"always" | "good" | "part" | "extras" | "when"} group
 * @property {"choice" | "tick" | "ticks" | "text" | "time" | "moment"} kind
 * @property {string[]} [values]  of a choice, the usual one first; of ticks
 * @property {string[]} [offered]  those of the values that the form has; all, if it is left out
 * @property {(chosen: Chosen, known: Known) => boolean} [applies]  always, if it is left out
 * @property {true} [isForOnce]  for the next request; all others are remembered
 * @property {true} [isAlwaysSent]
 * @property {(value: any, chosen: Chosen) => object} [asks]  fields of the request, if they are not called like the option
 */

/** The end of a clip for which none was given: later than the end of any film. */
export const BEHIND_ALL = "99:00:00"
/**
 * Each choice of the option, with the categories of SponsorBlock that it cuts out of a film.
 * @type {Record<string, string[]>}
 */
const SPONSORS = {
  sponsor: ["sponsor"],
  most: ["sponsor", "selfpromo", "interaction", "intro", "outro", "preview", "hook", "filler"],
}

export const makesVideo = (/** @type {Chosen} */ { outputs }) => outputs.includes("video")
const makesAudio = (/** @type {Chosen} */ { outputs }) => outputs.includes("audio")
const makesMedia = (/** @type {Chosen} */ chosen) => makesVideo(chosen) || makesAudio(chosen)
const hasSound = (/** @type {Chosen} */ chosen) => makesAudio(chosen) || (makesVideo(chosen) && !chosen.mute)
const hasClip = (/** @type {Chosen} */ { clip_start, clip_end }) => Boolean(clip_start || clip_end)
export const wantsSubtitles = (/** @type {Chosen} */ { outputs, embed }) =>
  outputs.includes("subtitles") || Boolean(embed)

/** @type {Record<string, Option>} */
export const OPTIONS = {
  outputs: {
    group: "extras",
    kind: "ticks",
    values: ["video", "audio", "thumbnail", "subtitles"],
    offered: ["thumbnail"],
    isAlwaysSent: true,
  },
  video_format: {
    group: "good",
    kind: "choice",
    values: ["mp4", "mkv", "webm", "any"],
    applies: makesVideo,
    isAlwaysSent: true,
  },
  mute: { group: "good", kind: "tick", applies: makesVideo },
  audio_format: {
    group: "good",
    kind: "choice",
    values: ["mp3", "m4a", "opus", "flac", "wav", "best"],
    applies: makesAudio,
    isAlwaysSent: true,
  },
  quality: {
    group: "always",
    kind: "choice",
    values: ["best", "2160", "1440", "1080", "720", "480", "360", "worst"],
    applies: (chosen) => makesVideo(chosen) && !chosen.format,
    isAlwaysSent: true,
  },
  format: { group: "good", kind: "choice", values: [""], applies: makesMedia, isForOnce: true },
  codec: {
    group: "good",
    kind: "choice",
    values: ["auto", "h264", "h265", "vp9", "av1"],
    applies: (chosen) => makesVideo(chosen) && !chosen.format,
    isAlwaysSent: true,
  },
  audio_quality: {
    group: "good",
    kind: "choice",
    values: ["", "320", "256", "192", "128", "96", "64"],
    applies: (chosen) => makesAudio(chosen) && !["flac", "wav", "best"].includes(chosen.audio_format),
    asks: (value) => ({ audio_quality: Number(value) }),
  },
  audio_language: {
    group: "good",
    kind: "text",
    applies: hasSound,
  },
  clip_start: {
    group: "part",
    kind: "time",
    applies: makesMedia,
    isForOnce: true,
    asks: () => ({}),
  },
  clip_end: {
    group: "part",
    kind: "time",
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
  },
  playlist: { group: "part", kind: "tick", applies: (_, { isVideo }) => !isVideo, isForOnce: true },
  embed: { group: "always", kind: "tick", applies: makesVideo, asks: () => ({}) },
  languages: {
    group: "always",
    kind: "text",
    applies: wantsSubtitles,
    asks: () => ({}),
  },
  automatic: {
    group: "extras",
    kind: "tick",
    applies: wantsSubtitles,
    asks: () => ({}),
  },
  embed_metadata: { group: "extras", kind: "tick", applies: makesMedia },
  split_chapters: { group: "extras", kind: "tick", applies: makesMedia },
  library: {
    group: "extras",
    kind: "choice",
    values: [""],
    applies: makesMedia,
    isForOnce: true,
    asks: (layout) => ({ library: { layout } }),
  },
  live: {
    group: "when",
    kind: "tick",
    applies: (chosen, { isVideo, isLive }) => !hasClip(chosen) && (!isVideo || Boolean(isLive)),
    isForOnce: true,
    asks: () => ({ live: "wait" }),
  },
  paused: {
    group: "when",
    kind: "tick",
    isForOnce: true,
    asks: () => ({ auto_start: false }),
  },
  start_at: {
    group: "when",
    kind: "moment",
    applies: ({ paused }) => !paused,
    isForOnce: true,
    asks: (value) => ({ start_at: new Date(value).toISOString() }),
  },
  cookies: { group: "when", kind: "choice", values: [""], isForOnce: true },
}
const NAMES = Object.keys(OPTIONS)
export const FOR_ONCE = NAMES.filter((name) => OPTIONS[name].isForOnce)
/** The name under which this browser stores the options. */
const LASTING = NAMES.filter((name) => !OPTIONS[name].isForOnce)
const REMEMBERED = "options"

/** The values of options that the reader has not changed. @type {Chosen} */
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
 * @param {Known} [known]
 */
export const doesApply = (name, chosen, known = {}) => OPTIONS[name].applies?.(chosen, known) ?? true

/**
 * Return the fields of a request: some are always sent, others only for a chosen option that applies.
 * @param {Chosen} chosen
 * @param {Known} [known]
 * @returns {Request}
 */
export function requestOf(chosen, known) {
  /** @type {Record<string, any>} */
  const request = { ...SENT_BY_DEFAULT }
  for (const name of NAMES) {
    const value = typeof chosen[name] === "string" ? chosen[name].trim() : chosen[name]
    if (!value || !doesApply(name, chosen, known)) continue
    Object.assign(request, OPTIONS[name].asks?.(value, chosen) ?? { [name]: value })
  }
  return /** @type {Request} */ ({ ...request, ...clipOf(chosen), ...subtitlesOf(chosen) })
}

/**
 * Return the request with a preset: the name of the preset, and the fields that differ from it.
 * @param {Request} request
 * @param {string} name
 * @param {Record<string, any>} preset
 */
export function besidePreset(request, name, preset) {
  const base = { ...SENT_BY_DEFAULT, ...preset }
  const isAsPreset = (/** @type {string} */ key) => JSON.stringify(base[key]) === JSON.stringify(request[key])
  const others = Object.keys(request).filter((key) => !isAsPreset(key))
  return { preset: name, ...Object.fromEntries(others.map((key) => [key, request[key]])) }
}

/** @param {Chosen} chosen */
function clipOf(chosen) {
  const { clip_start, clip_end, exact } = chosen
  if (!hasClip(chosen) || !makesMedia(chosen)) return {}
  return { clip: { start: clip_start || "0:00", end: clip_end || BEHIND_ALL, ...(exact && { exact: true }) } }
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

/** @param {string} languages  as they were typed */
export const listed = (languages) => languages.split(/[,，\s]+/).filter(Boolean)

/**
 * The chosen options, and the choices that the service offers. Fires "open" when the reader unfolds the form,
 * "change" when something is chosen or offered, and "clip" when the reader wants to mark a clip.
 */
export class Options extends EventTarget {
  /** @type {Chosen} */
  chosen = { ...DEFAULTS, ...pick(recall(REMEMBERED, {}), LASTING) }
  preset = ""
  /** @type {Record<string, Record<string, any>>} */
  presets = {}
  /**
   * The choices that the service offers, by the names of options.
   * @type {Record<string, [value: string, label: string][]>}
   */
  offers = { format: [], library: [], cookies: [] }
  /** @type {Known} */
  known = {}
  /** Whether the reader has chosen something since the last link was sent. */
  isTouched = false
  /** Whether the film whose link is in the box can be played here. */
  canMarkClip = false
  #button
  #form

  /**
   * @param {HTMLElement} choices  three options, the button for all others, and their form
   */
  constructor(choices) {
    super()
    const part = (
      /** @type {string} */ name,
    ) => /** @type {HTMLElement} */ (choices.querySelector(`[data-part=${name}]`))
    this.#button = part("more-options")
    this.#form = part("form")
    this.#button.addEventListener("click", () => this.#open(!this.isOpen))
  }

  /** Return the chosen options as fields of `POST /api/process`. */
  get request() {
    const request = requestOf(this.chosen, this.known)
    return this.preset ? besidePreset(request, this.preset, this.presets[this.preset]) : request
  }

  /** Return whether a link to a list downloads all its entries. */
  get isOfLists() {
    return Boolean(this.chosen.playlist || this.presets[this.preset]?.playlist)
  }

  /** Return whether the form is unfolded. */
  get isOpen() {
    return this.#button.ariaExpanded === "true"
  }

  /** Return whether all options behind the button have their usual values. */
  get areOthersUsual() {
    return NAMES.every((name) =>
      OPTIONS[name].group === "always" || JSON.stringify(this.chosen[name]) === JSON.stringify(DEFAULTS[name])
    )
  }

  /** @param {boolean} isOpen */
  #open(isOpen) {
    this.#button.ariaExpanded = String(isOpen)
    this.#form.hidden = !isOpen
    this.dispatchEvent(new Event(isOpen ? "open" : "change"))
  }

  /** @param {Chosen} values  by the names of options, for the reader to see */
  put(values) {
    Object.assign(this.chosen, values)
    this.#open(true)
    this.#changed()
  }

  /**
   * Take a choice that the reader has made in the form.
   * @param {string} name
   * @param {any} value
   */
  choose(name, value) {
    this.chosen[name] = value
    this.isTouched = true
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

  /** Return the chosen options that this browser remembers. */
  get lasting() {
    return lastingOf(this.chosen)
  }

  /** @param {Chosen} values  all that this browser is to remember; what is missing is as usual */
  fill(values) {
    const lasting = pick(values, LASTING)
    remember(REMEMBERED, lasting)
    this.preset = ""
    Object.assign(this.chosen, pick(DEFAULTS, LASTING), lasting)
    this.#changed()
  }

  /** Set all options to the values of a browser that remembers nothing. */
  reset() {
    this.fill({})
  }

  /** Reset the options that are for one request only, once it is sent; return their values. */
  forget() {
    const before = pick(this.chosen, FOR_ONCE)
    Object.assign(this.chosen, pick(DEFAULTS, FOR_ONCE))
    this.isTouched = false
    this.#open(false)
    this.#changed()
    return before
  }

  /**
   * Restore the values that `forget` has returned, unless the reader has chosen options for other links
   * meanwhile.
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

  /** @param {Known} known  of the one link in the box */
  know(known) {
    this.known = known
    this.#changed()
  }

  /** @param {boolean} canMarkClip */
  offerPlayer(canMarkClip) {
    if (this.canMarkClip === canMarkClip) return
    this.canMarkClip = canMarkClip
    this.#changed()
  }

  #changed() {
    this.dispatchEvent(new Event("change"))
  }
}

/**
 * @param {Record<string, any>} values
 * @param {string[]} names
 */
const pick = (values, names) =>
  Object.fromEntries(names.filter((name) => isFit(name, values[name])).map((name) => [name, values[name]]))

/** @param {Chosen} chosen */
export const lastingOf = (chosen) => pick(chosen, LASTING)

/**
 * Return whether this option may have a stored value: another release may have stored it.
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
