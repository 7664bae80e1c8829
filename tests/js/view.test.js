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

test("whoever scrolls to the end of a held list is shown what follows, and what belongs above waits", () => {
  const old = { stage: /** @type {const} */ ("completed"), status: /** @type {const} */ ("completed") }
  const at = (/** @type {string} */ completed_at) => ({ ...old, completed_at })
  const { list, view } = viewOf(
    newTask(9, at("2020-02-01T00:00:00Z")),
    newTask(8, at("2020-02-01T00:00:00Z")),
  )
  view.hold()
  for (const task of [newTask(7, at("2020-02-02T12:00:00Z")), newTask(6, at("2020-01-02T12:00:00Z"))]) {
    list.consider(task)
    view.changed(task.task_id)
  }
  const above = newTask(10, at("2020-03-02T12:00:00Z"))
  list.consider(above)
  view.changed(above.task_id)
  view.extend()
  assert.deepEqual(numbers(view), [9, 8, 7, 6])
  assert.deepEqual(view.sections.map(({ from, to }) => [from, to]), [[0, 3], [3, 4]])
  assert.equal(view.due, 1)
})
