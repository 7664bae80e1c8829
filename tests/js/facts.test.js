// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { menuOf, ofKey, primaryOf } from "../../static/js/row/actions.js"
import { drawnOf, entriesBefore, factsOf, minutesUntil } from "../../static/js/row/facts.js"
import { Format } from "../../static/js/base/i18n.js"
import { letterOf, titleOf } from "../../static/js/tasks/task.js"
import { newTask } from "./payloads.js"

/** @type {any} */
const i18n = {
  format: new Format("en"),
  now: () => Date.UTC(2026, 2, 14, 22, 0), // a clock that stands still
  t: (/** @type {string} */ key, /** @type {object} */ values = {}) =>
    [key, ...Object.values(values)].join(" "),
}

/** @param {Partial<import("../../static/js/tasks/task.js").Task>} fields */
const facts = (fields) => factsOf(newTask(1, fields), i18n).join(" · ")
/**
 * @param {Partial<import("../../static/js/tasks/task.js").Task>} fields
 * @param {number} [before]
 */
const drawn = (fields, before) => drawnOf(newTask(1, fields), before)

test("while it downloads, the bar shows the bytes, which lead with speed and time left, and no percent", () => {
  const fields = { progress: 50, downloaded_bytes: 10e6, total_bytes: 40e6, speed: 2e6, eta: 15 }
  assert.equal(facts({ stage: "download", ...fields }), "10 MB / 40 MB · 2 MB/s · card.eta 0:15")
  assert.equal(drawn({ stage: "download", ...fields }), 25)
})

test("of an unknown size there are bytes, and the bar moves without a value", () => {
  const fields = { progress: 20, downloaded_bytes: 10e6, speed: 2e6 }
  assert.equal(facts({ stage: "download", ...fields }), "10 MB · 2 MB/s")
  assert.equal(drawn({ stage: "download", ...fields }), null)
  assert.equal(drawn({ stage: "info", progress: 10 }), null)
  assert.equal(drawn({ stage: "convert", progress: 80 }, 100), null)
  assert.equal(facts({ stage: "convert", message: "Converting...", progress: 80 }), "Converting...")
})

test("what waits keeps what was drawn before, and has no bar if nothing was", () => {
  const paused = { stage: /** @type {const} */ ("paused"), message: "Paused", progress: 40 }
  assert.equal(drawn(paused, 25), 25)
  assert.equal(facts({ ...paused, downloaded_bytes: 99e6 }), "Paused · 99 MB")
  assert.equal(drawn(paused), undefined)
  assert.equal(drawn({ stage: "queued" }), undefined)
})

test("the bar never goes back: where the total grows it waits until the bytes have caught up", () => {
  const stage = /** @type {const} */ ("download")
  let before = 0
  const seen = [[11, 100], [47, 100], [47, 200], [90, 200], [120, 200]].map(
    ([downloaded_bytes, total_bytes]) => {
      before = drawn({ stage, downloaded_bytes, total_bytes }, before) ?? 0
      return before
    },
  )
  assert.deepEqual(seen, [11, 47, 47, 47, 60])
})

test("the bar of a list shows its completed entries", () => {
  const stage = /** @type {const} */ ("download")
  assert.equal(drawn({ stage, progress: 28, entries: { total: 9, completed: 0, failed: 0 } }), 0)
  assert.equal(drawn({ stage, progress: 28, entries: { total: 8, completed: 2, failed: 1 } }), 25)
  assert.equal(drawn({ stage: "info", progress: 5, entries: { total: 0, completed: 0, failed: 0 } }), null)
})

test("a download that is held says why", () => {
  const fields = { progress: 30, downloaded_bytes: 10e6, total_bytes: 40e6, waiting: "rate_window" }
  assert.equal(facts({ stage: "download", ...fields }), "waiting.rate_window · 10 MB / 40 MB")
})

test("what has failed is one sentence", () => {
  const fields = { stage: /** @type {const} */ ("failed"), status: /** @type {const} */ ("error") }
  assert.equal(facts({ ...fields, error: "Not there.", hint: "Look elsewhere." }), "Not there.")
  for (const [status, kind] of [[404, "gone"], [403, "refused"], [429, "busy"], [503, "broken"]]) {
    const error = { ...fields, error: `HTTP ${status}`, error_code: `http_${status}` }
    assert.equal(facts(error), `failure.${kind}`)
  }
  assert.equal(drawn(fields), undefined)
})

test("a title comes before the link, of which the host is read first", () => {
  assert.equal(titleOf(newTask(1, { video_info: { title: "Bread" } })), "Bread")
  assert.equal(titleOf(newTask(1, { url: "https://www.a.example/films/1" })), "a.example/films/1")
})

test("each stage has one thing to do first", () => {
  const first = (/** @type {any} */ fields) => primaryOf(newTask(1, fields))
  assert.equal(first({ stage: "queued" }), "pause")
  assert.equal(first({ stage: "download" }), "pause")
  assert.equal(first({ stage: "download", video_info: { live: true } }), "finish")
  assert.equal(first({ stage: "paused" }), "resume")
  assert.equal(first({ stage: "failed" }), "retry")
  assert.equal(first({ stage: "failed", remedies: ["unheard_of", "use_cookies"] }), "remedy.use_cookies")
  assert.equal(first({ stage: "failed", error_code: "is_playlist", remedies: ["take_list"] }), "choose")
  assert.equal(first({ stage: "completed", files: { video: "v.mp4" } }), "save")
  assert.equal(first({ stage: "completed", files: {} }), "again")
  for (const [stage, name] of [["download", "pause"], ["paused", "resume"], ["completed", "retry_entries"]]) {
    assert.equal(first({ stage, entries: { total: 3, completed: 1, failed: 1 } }), name)
  }
  assert.equal(first({ stage: "completed", entries: { total: 1, completed: 1, failed: 0 } }), "save_entries")
  assert.equal(first({ stage: "failed", error_code: "drm_protected" }), "")
})

test("what is done first is not in the menu as well", () => {
  for (const stage of /** @type {const} */ (["queued", "info", "download", "convert", "paused", "failed"])) {
    const task = newTask(1, { stage })
    assert.ok(!menuOf(task).includes(primaryOf(task)))
    assert.ok(menuOf(task).includes("delete"))
  }
})

test("a recording says so, with the time since it began and its size, and has no percent", () => {
  const started_at = new Date(i18n.now() - 754_400).toISOString()
  const fields = { video_info: { live: true }, progress: 20, started_at, downloaded_bytes: 45e6, speed: 1e6 }
  assert.equal(facts({ stage: "download", ...fields }), "card.recording · 12:34 · 45 MB")
  assert.equal(drawn({ stage: "download", ...fields }), undefined)
})

test("an entry that stands by itself names its list", () => {
  const list = newTask(1, { video_info: { title: "Bread" }, entries: { total: 3, completed: 1, failed: 1 } })
  const entry = newTask(2, { stage: "completed", playlist_id: "task-1", video_info: { duration: 60 } })
  assert.equal(factsOf(entry, i18n, { list }).join(" · "), "1:00 · card.in_list Bread · videos.example")
  assert.equal(factsOf(list, i18n)[1], "card.entries_failed 3 1 1")
  const live = newTask(3, { stage: "download", video_info: { live: true } })
  assert.equal(factsOf(live, i18n, { list }).join(" · "), "card.recording · card.in_list Bread")
})

test("sound alone has no height", () => {
  const fields = { stage: /** @type {const} */ ("completed"), video_info: { duration: 60, height: 720 } }
  assert.equal(facts({ ...fields, files: { audio: "a.mp3" } }), "1:00 · videos.example")
  assert.equal(facts({ ...fields, files: { video: "v.mp4" } }), "1:00 · 720p · videos.example")
})

test("a name that nobody can see is left out", () => {
  const video_info = { title: "Bread", uploader: "\u200b\u2060", duration: 60 }
  assert.equal(facts({ stage: "completed", video_info }), "1:00 · videos.example")
})

test("what cannot help is not offered, and a key does what is possible", () => {
  const names = (/** @type {any} */ fields) => {
    const task = newTask(1, { stage: "failed", ...fields })
    return [primaryOf(task), ...menuOf(task)]
  }
  for (const error_code of ["drm_protected", "unsupported_url"]) {
    assert.ok(!names({ error_code }).includes("retry"))
    assert.equal(ofKey("r", newTask(1, { stage: "failed", error_code })), undefined)
  }
  assert.ok(names({ error_code: "timeout" }).includes("retry"))
  assert.equal(ofKey("p", newTask(1, { stage: "paused" })), "resume")
  assert.equal(ofKey("p", newTask(1, { stage: "download" })), "pause")
  assert.equal(ofKey("g", newTask(1)), "start")
})

test("a completed task says what keeps its files from the library, and nothing once they are there", () => {
  const stage = /** @type {const} */ ("completed")
  const waits = { state: /** @type {const} */ ("waiting"), paths: [] }
  const line = (/** @type {any} */ library) => facts({ stage, status: "completed", library }).split(" · ")[0]
  assert.equal(line({ ...waits, reason: "full" }), "library.full")
  assert.equal(line({ ...waits, reason: "blocked", path: "A show" }), "library.blocked A show")
  assert.equal(line({ ...waits, reason: "blocked" }), "library.read_only")
  assert.equal(line({ ...waits, reason: "of a newer service" }), "library.waiting")
  assert.doesNotMatch(line({ state: "placed", paths: ["A show/a film.mp4"] }), /library|film/)
})

test("what waits comes up as the running ones end, and then as often as they take on the average", () => {
  const running = (/** @type {Partial<import("../../static/js/tasks/task.js").Task>} */ fields) =>
    newTask(9, { stage: "download", ...fields })
  assert.equal(minutesUntil(1, []), 0)
  assert.equal(minutesUntil(1, [running({ speed: 1e6 })]), 0) // none of the running tasks says when it ends
  const two = [running({ eta: 120 }), running({ eta: 60, total_bytes: 600e6, speed: 1e6 })]
  // Each task takes six minutes.
  assert.deepEqual([1, 2, 3, 4].map((place) => minutesUntil(place, two)), [1, 2, 7, 8])
  const places = [1, 5, 50, 500, 2500].map((place) => minutesUntil(place, two))
  assert.deepEqual(places, [...places].sort((a, b) => a - b))
  assert.equal(minutesUntil(2501, two), 1 + 1250 * 6)
  assert.equal(
    factsOf(newTask(1), i18n, { place: 3, minutes: 89 }).join(" · "),
    "card.place 3 · card.minutes 89",
  )
  assert.equal(
    factsOf(newTask(1), i18n, { place: 3, minutes: 91 }).join(" · "),
    "card.place 3 · card.hours 2",
  )
})

test("entries of a running list stand before what was sent after it", () => {
  const list = newTask(1, { stage: "download", entries: { total: 9, completed: 2, failed: 1 } })
  const begun = newTask(2, { stage: "download", playlist_id: "task-1" })
  const waits = newTask(3, { playlist_id: "task-1" })
  assert.equal(entriesBefore(newTask(20), [list, begun, waits]), 5)
  assert.equal(entriesBefore(newTask(20, { priority: 1 }), [list, begun, waits]), 0)
  assert.equal(entriesBefore(newTask(0), [list, begun, waits]), 0)
})

test("the letter in place of a picture is that of the site, or of the title where the site is a number", () => {
  assert.equal(letterOf(newTask(1, { url: "https://www.9films.example/1" })), "F")
  assert.equal(
    letterOf(newTask(1, { url: "http://127.0.0.1:8000/1", video_info: { title: "5 breads" } })),
    "B",
  )
  assert.equal(letterOf(newTask(1, { url: "http://127.0.0.1:8000/1" })), "")
})
