// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import catalogue from "../../static/i18n/en.json" with { type: "json" }
import { Format } from "../../static/js/format.js"
import { besidePreset, DEFAULTS, sentenceOf, wishesOf } from "../../static/js/wishes.js"

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
const FIELDS = { ...DEFAULTS, format: "", languages: "", sponsorblock: "", start_at: "" }

/** @param {object} fields */
const words = (fields) => sentenceOf(wishesOf({ ...FIELDS, ...fields }), i18n)

test("of what was not chosen nothing is asked for", () => {
  assert.deepEqual(wishesOf(FIELDS), DEFAULTS)
})

test("each choice is a field of the request", () => {
  const wishes = wishesOf({
    ...FIELDS,
    audio_quality: "192",
    languages: "en, zh-Hans",
    embed: "on",
    clip_start: "1:00",
    clip_end: "2:30",
    exact: "on",
    split_chapters: "on",
    sponsorblock: "sponsor",
    live: "on",
    paused: "on",
    start_at: "2031-07-05T12:00",
  })
  assert.deepEqual(wishes, {
    ...DEFAULTS,
    audio_quality: 192,
    subtitles: { languages: ["en", "zh-Hans"], embed: true },
    clip: { start: "1:00", end: "2:30", exact: true },
    split_chapters: true,
    sponsorblock: ["sponsor"],
    live: "wait",
    auto_start: false,
    start_at: new Date("2031-07-05T12:00").toISOString(),
  })
})

test("the choice is a sentence, and says what is not as usual", () => {
  assert.equal(words({}), "Best video as MP4 and MP3 audio")
  assert.equal(words({ outputs: ["audio"], audio_format: "opus" }), "OPUS audio")
  assert.equal(words({ quality: "720", video_format: "any", outputs: ["video"] }), "720p video")
  assert.equal(
    words({ clip_start: "1:00", clip_end: "2:00", codec: "h264", paused: "on" }),
    "Best video as MP4 and MP3 audio · H264 · from 1:00 to 2:00 · not started yet",
  )
  assert.equal(words({ split_chapters: "on" }), "Best video as MP4 and MP3 audio · a file for each chapter")
  assert.equal(words({ outputs: [] }), "Nothing chosen")
})

test("of a preset only its name is sent, and what was chosen otherwise", () => {
  const preset = { quality: "720", outputs: ["video"] }
  const wishes = wishesOf({ ...FIELDS, ...preset, quality: "480" })
  assert.deepEqual(besidePreset(wishes, "phone", preset), { preset: "phone", quality: "480" })
})

test("what is remembered can be read without opening the options", () => {
  assert.match(words({ automatic: "on" }), / · automatic subtitles, too$/)
  assert.match(words({ embed: "on" }), / · subtitles in the video$/)
  assert.match(words({ clip_start: "1:00", clip_end: "2:00", exact: "on" }), / · exactly from 1:00 to 2:00$/)
  assert.match(words({ clip_start: "1:00" }), / · from 1:00 to the end$/)
})
