// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { TaskList } from "../../static/js/list.js"
import { Rule } from "../../static/js/rule.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/task.js").Task} Task */

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

test("below the last page that was loaded there is only what works or waits", () => {
  const ended = (/** @type {number} */ number) => newTask(number, { stage: "completed" })
  const list = listOf(new Rule(), ended(9), ended(5))
  list.edge = ended(5)
  list.consider(ended(3))
  list.consider(newTask(2, { stage: "download" }))
  list.consider(newTask(1))
  assert.deepEqual(numbers(list), [2, 1, 9, 5])
  list.consider(ended(2))
  assert.deepEqual(numbers(list), [1, 9, 5, 2]) // it does not vanish before the eyes of who watched it
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
  assert.equal(rule.matches(newTask(1, { stage: "cancelled" })), undefined)
  assert.deepEqual(rule.query, { status: "error", q: "bread" })
})
