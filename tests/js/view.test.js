// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { TaskList } from "../../static/js/list.js"
import { Rule } from "../../static/js/rule.js"
import { View } from "../../static/js/view.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/task.js").Task} Task */

/** @param {Task[]} tasks */
function viewOf(...tasks) {
  const list = new TaskList()
  list.reset(new Rule(), tasks)
  const view = new View(list)
  view.refresh()
  const change = (/** @type {Task} */ task) => {
    list.consider(task)
    view.changed(task.task_id)
    view.refresh()
  }
  return { list, view, change }
}

/** @param {View} view */
const numbers = (view) => view.items.map((task) => task.number)

test("sections are stretches of the list", () => {
  const { view } = viewOf(newTask(1, { stage: "info" }), newTask(2), newTask(3))
  assert.deepEqual(view.sections.map(({ from, to }) => [from, to]), [[0, 1], [1, 3]])
})

test("while it is held no row comes, goes or moves, and what is due is counted", () => {
  const { list, view, change } = viewOf(newTask(1, { stage: "info" }), newTask(2), newTask(3))
  view.hold()
  change(newTask(4))
  change(newTask(2, { stage: "download" }))
  change(newTask(1, { stage: "info", progress: 5 }))
  list.drop("task-3")
  view.changed("task-3")
  assert.deepEqual(numbers(view), [1, 2, 3])
  assert.equal(view.due, 3)
  assert.equal(view.indexOf("task-3"), 2)
  view.release()
  assert.deepEqual(numbers(view), [1, 2, 4])
  assert.equal(view.due, 0)
})

test("what came and went again, or moved and moved back, is not due", () => {
  const { list, view, change } = viewOf(newTask(1), newTask(2))
  view.hold()
  change(newTask(3))
  list.drop("task-3")
  view.changed("task-3")
  change(newTask(1, { stage: "info" }))
  change(newTask(1))
  assert.equal(view.due, 0)
})

const at = (/** @type {number} */ number, /** @type {string} */ completed_at) =>
  newTask(number, { stage: "completed", completed_at })

test("what is loaded below held rows is appended at once, by whatever request, and what belongs above waits", () => {
  const shown = [at(9, "2020-02-03T00:00:00Z"), at(8, "2020-02-02T00:00:00Z")]
  const { list, view, change } = viewOf(...shown)
  list.reach(shown, true)
  view.hold()
  const loaded = [at(7, "2020-02-01T12:00:00Z"), at(6, "2020-01-02T12:00:00Z")]
  list.reach(loaded, true)
  for (const task of [...loaded, at(10, "2020-03-02T12:00:00Z")]) change(task)
  view.extend()
  assert.deepEqual(numbers(view), [9, 8, 7, 6])
  assert.deepEqual(view.sections.map(({ from, to }) => [from, to]), [[0, 3], [3, 4]])
  assert.equal(view.due, 1)
  list.reach([], false)
  change(at(5, "2020-01-01T12:00:00Z"))
  view.extend()
  assert.deepEqual(numbers(view), [9, 8, 7, 6, 5])
})

test("what comes at the very end of a held list that was loaded whole waits as all else", () => {
  const { view, change } = viewOf(at(9, "2020-02-03T00:00:00Z"))
  view.hold()
  change(at(8, "2020-02-02T00:00:00Z"))
  view.extend()
  assert.deepEqual(numbers(view), [9])
  assert.equal(view.due, 1)
})

test("what is loaded comes last although its section is above by now: nothing that is held moves", () => {
  const { list, view, change } = viewOf(newTask(1), newTask(2))
  list.reach([newTask(2)], true)
  view.hold()
  list.reach([newTask(3)], true)
  change(newTask(3))
  change(newTask(2, { stage: "download" }))
  view.extend()
  assert.deepEqual(numbers(view), [1, 2, 3])
  assert.equal(view.sections.length, 1)
})
