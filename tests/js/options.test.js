// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import catalogue from "../../static/i18n/en.json" with { type: "json" }
import { Format } from "../../static/js/base/i18n.js"
import { besidePreset, DEFAULTS, Options, requestOf } from "../../static/js/intake/options.js"
import { othersOf, sentenceOf } from "../../static/js/intake/optionwords.js"

/** @type {Record<string, any>} */
const texts = catalogue
/** @type {any} */
const i18n = {
  format: new Format("en"),
  t: (/** @type {string} */ key, /** @type {Record<string, string>} */ values = {}) =>
    texts[key].replace(
      /\{(\w+)\}/g,
      (/** @type {string} */ _, /** @type {string} */ name) => values[name],
    ),
}
const USUAL = {
  outputs: ["video", "audio"],
  quality: "best",
  video_format: "mp4",
  codec: "auto",
  audio_format: "mp3",
}

/** @param {object} chosen */
const words = (chosen) => sentenceOf({ ...DEFAULTS, ...chosen }, i18n)
/** @param {object} chosen */
const request = (chosen) => requestOf({ ...DEFAULTS, ...chosen })

test("of what was not chosen nothing is asked for", () => {
  assert.deepEqual(request({}), USUAL)
})

test("each choice is a field of the request", () => {
  const chosen = {
    audio_quality: "192",
    languages: "en, zh-Hans",
    embed: true,
    clip_start: "1:00",
    clip_end: "2:30",
    exact: true,
    mute: true,
    split_chapters: true,
    sponsorblock: "sponsor",
    playlist: true,
    cookies: "main",
    start_at: "2031-07-05T12:00",
  }
  assert.deepEqual(request(chosen), {
    ...USUAL,
    audio_quality: 192,
    subtitles: { languages: ["en", "zh-Hans"], embed: true },
    clip: { start: "1:00", end: "2:30", exact: true },
    mute: true,
    split_chapters: true,
    sponsorblock: ["sponsor"],
    playlist: true,
    cookies: "main",
    start_at: new Date("2031-07-05T12:00").toISOString(),
  })
  assert.deepEqual(request({ live: true, paused: true }), { ...USUAL, live: "wait", auto_start: false })
})

test("what does not apply is neither asked for nor said", () => {
  const remembered = { audio_quality: "192", mute: true, exact: true, languages: "en", embed_metadata: true }
  assert.deepEqual(request({ ...remembered, outputs: ["thumbnail"] }), { ...USUAL, outputs: ["thumbnail"] })
  assert.equal(words({ ...remembered, outputs: ["thumbnail"] }), "cover")
  assert.equal(request({ audio_quality: "192", audio_format: "flac" }).audio_quality, undefined)
  assert.equal(request({ quality: "480", format: "137+140" }).quality, "best")
  assert.equal(request({ quality: "480", outputs: ["audio"] }).quality, "best")
  assert.equal(requestOf({ ...DEFAULTS, playlist: true }, { isVideo: true }).playlist, undefined)
  assert.equal(request({ paused: true, start_at: "2031-07-05T12:00" }).start_at, undefined)
})

test("the choice is a sentence, and says what is not as usual", () => {
  assert.equal(words({}), "Best video as MP4 and MP3 audio")
  assert.equal(words({ outputs: ["audio"], audio_format: "opus" }), "OPUS audio")
  assert.equal(words({ quality: "720", video_format: "any", outputs: ["video"] }), "720p video")
  assert.equal(
    words({ clip_start: "1:00", clip_end: "2:00", codec: "h264", paused: true }),
    "Best video as MP4 and MP3 audio · H264 · from 1:00 to 2:00 · not started",
  )
  assert.equal(words({ split_chapters: true }), "Best video as MP4 and MP3 audio · one file per chapter")
  assert.equal(othersOf({ ...DEFAULTS, quality: "720", languages: "en" }, i18n), "")
  assert.equal(
    othersOf({ ...DEFAULTS, video_format: "mkv", audio_format: "best", sponsorblock: "most" }, i18n),
    "MKV · original audio · without sponsors",
  )
})

test("of a preset only its name is sent, and what was chosen otherwise", () => {
  const preset = { quality: "720", outputs: ["video"] }
  const chosen = request({ ...preset, quality: "480" })
  assert.deepEqual(besidePreset(chosen, "phone", preset), { preset: "phone", quality: "480" })
})

test("what is remembered can be read without opening the options", () => {
  assert.match(words({ automatic: true, outputs: ["video", "subtitles"] }), / · with automatic subtitles$/)
  assert.match(words({ embed: true }), / · subtitles in the video$/)
  assert.match(words({ clip_start: "1:00", clip_end: "2:00", exact: true }), / · exactly from 1:00 to 2:00$/)
  assert.match(words({ clip_start: "1:00" }), / · from 1:00 to the end$/)
})

test("what is stored and makes no sense is as if nothing were", () => {
  const part = { addEventListener() {}, querySelector: () => part, textContent: "", ariaExpanded: "false" }
  for (const nonsense of ["null", "7", "[]", "{", '{"outputs":["hologram"],"quality":"loud"}']) {
    Object.defineProperty(globalThis, "localStorage", {
      value: { getItem: () => nonsense },
      configurable: true,
    })
    assert.deepEqual(new Options(/** @type {any} */ (part)).chosen, DEFAULTS)
  }
})
