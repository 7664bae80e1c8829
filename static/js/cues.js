// @ts-check
// Subtitles, SubRip or WebVTT, as the lines of a track: browsers read only one of them by themselves.

/** @typedef {{start: number, end: number, text: string}} Cue  in seconds */

const TIMES = /^\s*((?:\d+:)?\d+:\d+[.,]\d+)\s*-->\s*((?:\d+:)?\d+:\d+[.,]\d+)/
/** All marks (fonts, places) but those that a browser shows in a cue: b, i, u. */
const FOREIGN_MARKS = /<(?!\/?[biu]>)[^<>]*>|\{\\[^{}]*\}/g

/**
 * The cues in `text`; what is no cue is skipped.
 * @param {string} text
 * @returns {Cue[]}
 */
export function cuesIn(text) {
  return text.replace(/\r\n?/g, "\n").split(/\n{2,}/).flatMap((block) => {
    const lines = block.split("\n")
    const at = lines.findIndex((line) => TIMES.test(line))
    const [, start, end] = TIMES.exec(lines[at] ?? "") ?? []
    const words = lines.slice(at + 1).join("\n").replace(FOREIGN_MARKS, "").trim()
    const cue = { start: seconds(start ?? ""), end: seconds(end ?? ""), text: words }
    return start && words && cue.end > cue.start ? [cue] : []
  })
}

/** @param {string} time  01:02:03,456 or 02:03.456 */
const seconds = (time) => time.replace(",", ".").split(":").reduce((sum, part) => 60 * sum + Number(part), 0)
