// @ts-check
// What a later release may send, or a stranger's metadata hold: it is shown, and nothing breaks.
import assert from "node:assert/strict"
import { test } from "node:test"

import { menuOf, primaryOf } from "../../static/js/row/actions.js"
import { factsOf } from "../../static/js/row/facts.js"
import { kindName } from "../../static/js/row/files.js"
import { Format } from "../../static/js/base/i18n.js"
import { titleOf } from "../../static/js/tasks/task.js"
import { newTask } from "./payloads.js"

/** @type {any} */
const i18n = {
  format: new Format("en"),
  t: (/** @type {string} */ key, /** @type {object} */ _ = {}, otherwise = key) =>
    key === "kind.video" ? "video" : otherwise,
}

test("a stage of a later release offers what its status allows", () => {
  /** @type {any[]} */
  const unknown = [{ status: "processing" }, { status: "completed", files: { video: "/v" } }, {
    status: "error",
  }]
  const tasks = unknown.map((fields) => newTask(1, { stage: /** @type {any} */ ("later"), ...fields }))
  assert.deepEqual(tasks.map(primaryOf), ["pause", "save", "retry"])
  assert.deepEqual(tasks.map((task) => menuOf(task).includes("delete")), [true, true, true])
})

test("a kind of file of a later release is called as it is", () => {
  assert.equal(kindName("video", i18n), "video")
  assert.equal(kindName("hologram", i18n), "hologram")
  assert.equal(kindName("hologram.2", i18n), "hologram 2")
})

test("a file whose size is not known adds nothing to the others", () => {
  /** @type {any} */
  const files = { video: { size: 2_000_000, type: "video/mp4" }, hologram: { type: "x/y" } }
  const task = newTask(1, { stage: "completed", files: { video: "/v" }, file_info: files })
  assert.equal(factsOf(task, i18n)[0], "2 MB")
})

test("a title without anything to read is none", () => {
  for (const title of ["", "  ", "\u200b", "\u202e \0"]) {
    assert.equal(titleOf(newTask(7, { video_info: { title } })), "videos.example/7")
  }
  assert.equal(titleOf(newTask(7, { video_info: { title: " 😀 " } })), " 😀 ")
})
