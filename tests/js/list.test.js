// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { TaskList } from "../../static/js/list/list.js"
import { Rule } from "../../static/js/list/filter.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/tasks/task.js").Task} Task */

/**
 * @param {Rule} rule
 * @param {Task[]} tasks
 */
function listOf(rule, ...tasks) {
  const list = new TaskList()
  list.reset(rule, tasks)
  return list
}

/** @param {TaskList} list */
const numbers = (list) => list.tasks.map((task) => task.number)

test("a list holds what fits, and lets go what fits no more", () => {
  const list = listOf(new Rule("waiting"), newTask(1), newTask(2, { stage: "download" }))
  list.consider(newTask(2, { stage: "paused" }))
  list.consider(newTask(1, { stage: "info" }))
  assert.deepEqual(numbers(list), [2])
})

test("below the last task that was loaded nothing is listed: what is loaded next would come above it", () => {
  const list = listOf(new Rule(), newTask(1), newTask(2))
  list.reach([newTask(2)], true)
  list.consider(newTask(3))
  list.consider(newTask(4, { stage: "paused" }))
  list.consider(newTask(5, { stage: "completed" }))
  list.consider(newTask(6, { stage: "download" })) // a running task stands above the waiting ones
  assert.deepEqual(numbers(list), [6, 1, 2])
  list.reach([newTask(3), newTask(4, { stage: "paused" })], true)
  list.consider(newTask(3))
  list.consider(newTask(4, { stage: "paused" }))
  assert.deepEqual(numbers(list), [6, 1, 2, 3, 4])
  list.reach([], false)
  list.consider(newTask(5, { stage: "completed" }))
  assert.deepEqual(numbers(list), [6, 1, 2, 3, 4, 5])
})

test("what moves below the last task that was loaded is loaded with what stands there", () => {
  const list = listOf(new Rule(), newTask(1, { stage: "download" }), newTask(2))
  list.reach([newTask(2)], true)
  list.consider(newTask(1, { stage: "completed" }))
  assert.deepEqual(numbers(list), [2])
})

test("only the server says what holds a text: until it does, nothing comes or goes", () => {
  const rule = new Rule("all", "strasse")
  const found = newTask(1, { video_info: { title: "Straße" } })
  rule.found([found])
  const list = listOf(rule, found, newTask(2, { video_info: { title: "strasse" } }))
  assert.deepEqual(numbers(list), [1])
  assert.deepEqual(list.doubts, ["task-2"])
  list.consider({ ...found, video_info: { title: "Weg" } })
  assert.deepEqual(numbers(list), [1])
  rule.missed([{ ...found, video_info: { title: "Weg" } }])
  list.consider({ ...found, video_info: { title: "Weg" } })
  assert.deepEqual(numbers(list), [])
})

test("what the server found it need not be asked again, in whatever stage", () => {
  const rule = new Rule("all", "bread")
  rule.found([newTask(1)])
  assert.equal(rule.matches(newTask(1, { stage: "completed", progress: 100 })), true)
  assert.equal(rule.matches(newTask(1, { video_info: { uploader: "somebody" } })), undefined)
})

test("what it missed in one stage it may have overlooked in another", () => {
  const rule = new Rule("all", "bread")
  rule.missed([newTask(1, { stage: "info" })])
  assert.equal(rule.matches(newTask(1, { stage: "info" })), false)
  assert.equal(rule.matches(newTask(1, { stage: "download" })), undefined)
})

test("what does not have the wanted status is judged without the server", () => {
  const rule = new Rule("failed", "bread")
  assert.equal(rule.matches(newTask(1)), false)
  assert.equal(rule.matches(newTask(1, { stage: "cancelled" })), false)
  assert.equal(rule.matches(newTask(1, { stage: "failed" })), undefined)
  assert.deepEqual(rule.query, {
    sort: "state",
    status: undefined,
    stage: "failed",
    q: "bread",
    owner: "",
    folded: undefined,
  })
})

test("a list is one row under each filter, and its entries stand by themselves where the reader searches", () => {
  const entry = newTask(1, { stage: "failed", playlist_id: "task-9" })
  assert.equal(new Rule("failed").matches(entry), false)
  assert.equal(new Rule("failed").query.folded, "1")
  assert.equal(new Rule("failed", "bread").matches(entry), undefined)
})
