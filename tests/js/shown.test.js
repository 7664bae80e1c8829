// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { TaskList } from "../../static/js/list/list.js"
import { Rule } from "../../static/js/list/filter.js"
import { ShownList } from "../../static/js/list/shown.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/tasks/task.js").Task} Task */

/** @param {Task[]} tasks */
function shownOf(...tasks) {
  const list = new TaskList()
  list.reset(new Rule(), tasks)
  const shown = new ShownList(list)
  shown.refresh()
  const change = (/** @type {Task} */ task) => {
    list.consider(task)
    shown.changed(task.task_id, task)
    shown.refresh()
  }
  return { list, shown, change }
}

/** @param {ShownList} shown */
const numbers = (shown) => shown.items.map((task) => task.number)

test("sections are stretches of the list", () => {
  const { shown } = shownOf(newTask(1, { stage: "info" }), newTask(2), newTask(3))
  assert.deepEqual(shown.sections.map(({ from, to }) => [from, to]), [[0, 1], [1, 3]])
})

test("while it is frozen no row comes, goes or moves, and what is due is counted", () => {
  const { list, shown, change } = shownOf(newTask(1, { stage: "info" }), newTask(2), newTask(3))
  shown.freeze()
  change(newTask(4))
  change(newTask(2, { stage: "download" }))
  change(newTask(1, { stage: "info", progress: 5 }))
  list.drop("task-3")
  shown.changed("task-3")
  assert.deepEqual(numbers(shown), [1, 2, 3])
  assert.equal(shown.due, 3)
  assert.equal(shown.isAllNew, false)
  assert.equal(shown.indexOf("task-3"), 2)
  shown.thaw()
  assert.deepEqual(numbers(shown), [1, 2, 4])
  assert.equal(shown.due, 0)
})

test("what came and went again, or moved and moved back, is not due", () => {
  const { list, shown, change } = shownOf(newTask(1), newTask(2))
  shown.freeze()
  change(newTask(3))
  assert.equal(shown.isAllNew, true)
  list.drop("task-3")
  shown.changed("task-3")
  change(newTask(1, { stage: "info" }))
  change(newTask(1))
  assert.equal(shown.due, 0)
})

const at = (/** @type {number} */ number, /** @type {string} */ completed_at) =>
  newTask(number, { stage: "completed", completed_at })

test("what is loaded below frozen rows is appended at once, by whatever request, and what belongs above waits", () => {
  const first = [at(9, "2020-02-03T00:00:00Z"), at(8, "2020-02-02T00:00:00Z")]
  const { list, shown, change } = shownOf(...first)
  list.reach(first, true)
  shown.freeze()
  const loaded = [at(7, "2020-02-01T12:00:00Z"), at(6, "2020-01-02T12:00:00Z")]
  list.reach(loaded, true)
  for (const task of [...loaded, at(10, "2020-03-02T12:00:00Z")]) change(task)
  shown.extend()
  assert.deepEqual(numbers(shown), [9, 8, 7, 6])
  assert.deepEqual(shown.sections.map(({ from, to }) => [from, to]), [[0, 3], [3, 4]])
  assert.equal(shown.due, 1)
  list.reach([], false)
  change(at(5, "2020-01-01T12:00:00Z"))
  shown.extend()
  assert.deepEqual(numbers(shown), [9, 8, 7, 6, 5])
})

test("what comes at the very end of a frozen list that was loaded whole waits as all else", () => {
  const { shown, change } = shownOf(at(9, "2020-02-03T00:00:00Z"))
  shown.freeze()
  change(at(8, "2020-02-02T00:00:00Z"))
  shown.extend()
  assert.deepEqual(numbers(shown), [9])
  assert.equal(shown.due, 1)
})

test("what is loaded comes last although its section is above by now: nothing that is frozen moves", () => {
  const { list, shown, change } = shownOf(newTask(1), newTask(2))
  list.reach([newTask(2)], true)
  shown.freeze()
  list.reach([newTask(3)], true)
  change(newTask(3))
  change(newTask(2, { stage: "download" }))
  shown.extend()
  assert.deepEqual(numbers(shown), [1, 2, 3])
  assert.equal(shown.sections.length, 1)
})

/** A list of three entries between two other tasks; the reader unfolds the list. */
function listOf3() {
  const counts = { total: 3, completed: 0, failed: 0 }
  const tasks = [newTask(1), newTask(2, { entries: counts }), newTask(6)]
  const entries = [3, 4, 5].map((number) => newTask(number, { playlist_id: "task-2" }))
  const list = new TaskList()
  list.reset(new Rule(), [...tasks, ...entries])
  const shown = new ShownList(list, (id) => (id === "task-2" ? entries : []))
  shown.refresh()
  return { list, shown, entries }
}

test("entries stand under their list, in their order, and only when it is unfolded", () => {
  const { shown } = listOf3()
  assert.deepEqual(numbers(shown), [1, 2, 6])
  for (const freezes of [false, true]) {
    if (freezes) shown.freeze()
    shown.unfold("task-2")
    assert.deepEqual(numbers(shown), [1, 2, 3, 4, 5, 6])
    assert.deepEqual(shown.sections.map(({ from, to }) => [from, to]), [[0, 6]])
    const [section] = shown.sections
    assert.deepEqual([0, 1, 3, 5].map((index) => shown.positionOf(index, section)), [
      { position: 1, count: 3 },
      { position: 2, count: 3 },
      { position: 2, count: 3 },
      { position: 3, count: 3 },
    ])
    assert.equal(shown.indexOf("task-6"), 5)
    assert.equal(shown.due, 0)
    shown.fold("task-2")
    assert.deepEqual(numbers(shown), [1, 2, 6])
    assert.equal(shown.indexOf("task-6"), 2)
  }
})

test("entries that change while rows are frozen are not due, for they stay under their list", () => {
  const { list, shown, entries } = listOf3()
  shown.unfold("task-2")
  shown.freeze()
  const changed = { ...entries[0], stage: /** @type {const} */ ("download"), revision: 2 }
  list.consider(changed)
  shown.changed("task-3", changed)
  assert.equal(shown.due, 0)
  shown.thaw()
  assert.deepEqual(numbers(shown), [1, 2, 3, 4, 5, 6])
})

test("rows that are folded under another one are not shown, and are not due while rows are frozen", () => {
  const { list, shown, change } = shownOf(newTask(1), newTask(2), newTask(3), newTask(4))
  const folded = ["task-2", "task-3"]
  shown.origins = {
    visible: (tasks) => tasks.filter(({ task_id }) => !folded.includes(task_id)),
    hides: ({ task_id }) => folded.includes(task_id),
  }
  shown.refresh()
  assert.deepEqual(numbers(shown).toSorted(), [1, 4])
  assert.deepEqual(shown.items.map(({ task_id }) => shown.indexOf(task_id)), [0, 1])
  shown.freeze()
  change({ ...newTask(2), revision: 2 })
  assert.equal(shown.due, 0)
  shown.thaw()
  assert.equal(shown.items.length, 2)
  assert.equal(list.tasks.length, 4)
})
