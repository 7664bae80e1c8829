// @ts-check
import { dayOf } from "../../static/js/intake/entries.js"
import { chosenOf } from "../../static/js/intake/optionwords.js"
import assert from "node:assert/strict"
import { test } from "node:test"

import catalogue from "../../static/i18n/en.json" with { type: "json" }
import { Format } from "../../static/js/base/i18n.js"
import { requestOf } from "../../static/js/intake/options.js"
import {
  countsOf,
  durationWords,
  fromNow,
  heldUntil,
  mergePatch,
  profileWords,
  stateWords,
  statusOf,
} from "../../static/js/subscriptions/subscriptionwords.js"

/** @type {Record<string, any>} */
const texts = catalogue
/** @type {any} */
const i18n = {
  language: "en",
  format: new Format("en"),
  t: (/** @type {string} */ key, /** @type {Record<string, any>} */ values = {}) =>
    (texts[key].other ?? texts[key]).replace(
      /\{(\w+)\}/g,
      (/** @type {string} */ _, /** @type {string} */ name) => values[name],
    ),
}
const NOW = Date.parse("2026-03-14T12:00:00Z")
const MINUTE = 60_000

/** @param {object} fields */
const subscription = (fields) => /** @type {any} */ ({
  url: "https://tube.example/a",
  stage: "idle",
  items: {},
  ...fields,
})

test("a time is said from now on, in a unit that tells enough", () => {
  assert.equal(fromNow(20_000, "en"), "in 20 seconds")
  assert.equal(fromNow(42 * MINUTE, "en"), "in 42 minutes")
  assert.equal(fromNow(-3 * 60 * MINUTE, "en"), "3 hours ago")
  assert.equal(fromNow(3 * 24 * 60 * MINUTE, "zh"), "3天后")
  assert.equal(durationWords("90m", "en"), "90 minutes")
  assert.equal(durationWords("1d", "zh"), "1天")
})

test("a refusal of a host holds all its subscriptions, until it is over", () => {
  const next_check_at = "2026-03-14T14:00:00Z"
  const held = subscription({ stage: "seeding", waiting: "host_held", next_check_at })
  assert.equal(heldUntil(held), Date.parse(next_check_at))
  assert.equal(heldUntil(subscription({ next_check_at })), 0)
  assert.equal(
    statusOf(held, i18n, heldUntil(held), NOW),
    `This site asked for a pause until ${i18n.format.moment(new Date(next_check_at))}`,
  )
  assert.equal(statusOf(subscription({ ...held, stage: "paused" }), i18n, heldUntil(held), NOW), "Paused")
})

test("a subscription says what it does, or when it is looked at next", () => {
  const words = (/** @type {object} */ fields) => statusOf(subscription(fields), i18n, 0, NOW)
  assert.equal(words({ stage: "paused" }), "Paused")
  assert.equal(words({ stage: "seeding" }), "Reading the list…")
  assert.equal(words({ next_check_at: "2026-03-14T12:42:00Z" }), "Next check in 42 minutes")
  assert.equal(words({ next_check_at: "2026-03-14T11:59:00Z" }), "Next to be checked")
  assert.equal(words({}), "Next to be checked")
})

test("older ones are counted only where there is nothing else", () => {
  assert.deepEqual(countsOf({ items: { known: 43, failed: 2, waiting: 6 }, held: 5 }, i18n), [
    "5 held",
    "1 waiting",
    "2 failed",
  ])
  assert.deepEqual(countsOf({ items: { known: 43 } }, i18n), ["43 older entries"])
  assert.deepEqual(countsOf({ items: {} }, i18n), [])
})

test("an item says its state and why, and a day is the same day everywhere", () => {
  const item = (/** @type {object} */ fields) => /** @type {any} */ ({ state: "waiting", ...fields })
  assert.equal(stateWords(item({ reason: "held" }), i18n), "Waiting · held")
  assert.equal(stateWords(item({ state: "fetched", reason: "in_memory" }), i18n), "Downloaded")
  assert.equal(
    stateWords(item({ state: "failed", reason: "http_404" }), i18n),
    "Failed · This video does not exist or has been removed.",
  )
  assert.equal(stateWords(item({ state: "failed", reason: "of_tomorrow" }), i18n), "Failed · of_tomorrow")
  assert.equal(dayOf(item({ published_at: "2026-03-14" }), "en"), "Mar 14, 2026")
  assert.equal(dayOf(item({}), "en"), "")
})

test("what is chosen for a request asks for the same again", () => {
  const request = {
    outputs: ["video", "subtitles"],
    quality: "720",
    video_format: "mp4",
    codec: "auto",
    audio_format: "mp3",
    subtitles: { languages: ["en", "de"], automatic: true },
    sponsorblock: requestOf(/** @type {any} */ ({ ...chosenOf({}), sponsorblock: "sponsor" })).sponsorblock,
    cookies: "films",
  }
  assert.deepEqual(requestOf(/** @type {any} */ (chosenOf(request))), request)
  assert.deepEqual(requestOf(/** @type {any} */ (chosenOf({}))).outputs, ["video", "audio"])
})

test("what a profile gives is said in one line, in the words of the form", () => {
  const profile = {
    interval: "90m",
    request: { outputs: ["audio"], audio_format: "mp3" },
    filters: { kinds: ["video", "stream"], max_duration: 90, min_age: "2h", members: true },
    keep: { days: 9 },
    library: { folder: "Talks" },
  }
  assert.equal(
    profileWords(profile, i18n),
    "Interval between checks: 90 minutes · MP3 audio · Kinds: videos, live streams · Maximum length (minutes): 1.5 · " +
      "Wait after publication: 2 hours · Keep for (days): 9 · members-only videos too · Library: Series",
  )
  assert.equal(profileWords({ interval: "auto" }, i18n), "Interval between checks: as often as it publishes")
  assert.equal(profileWords({ library: { name: "{title}" } }, i18n), "Library: {title}")
})

test("a merge patch has only what was changed", () => {
  const before = { a: 1, b: { c: 2, d: [1] }, e: 3 }
  assert.deepEqual(mergePatch(before, { a: 1, b: { c: 2, d: [2] } }), { b: { d: [2] }, e: null })
  assert.deepEqual(mergePatch(before, before), {})
  assert.deepEqual(mergePatch({}, { f: { g: 1 } }), { f: { g: 1 } })
})
