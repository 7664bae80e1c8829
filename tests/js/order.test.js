// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Order } from "../../static/js/list/order.js"
import { Sections } from "../../static/js/list/order.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/tasks/task.js").Task} Task */

const now = new Date(2026, 10, 26, 12)
const order = new Order(new Sections(now))

/** @param {Task[]} tasks */
const sorted = (...tasks) => tasks.sort((a, b) => order.compare(a, b)).map((task) => task.number)

/**
 * @param {number} number
 * @param {number[]} ended  year, month from 0, day, hour
 * @param {Partial<Task>} [fields]
 */
function ended(number, [year, month, day, hour = 0], fields = {}) {
  const completed_at = new Date(year, month, day, hour).toISOString()
  return newTask(number, { stage: "completed", status: "completed", completed_at, ...fields })
}

test("what runs stands on top with the oldest first, then what waits, then what has ended", () => {
  const tasks = [
    newTask(9),
    ended(8, [2026, 10, 26]),
    newTask(7, { stage: "info" }),
    newTask(1, { stage: "download" }),
  ]
  assert.deepEqual(sorted(...tasks), [1, 7, 9, 8])
})

test("what waits is in the queue's order: moved ones, the highest priority, the oldest; then paused ones, the newest first", () => {
  const tasks = [
    newTask(1),
    newTask(2),
    newTask(3, { priority: 5 }),
    newTask(4, { rank: 1 }),
    newTask(5, { rank: -1 }),
    newTask(6, { stage: "paused", rank: 9 }),
    newTask(7, { stage: "paused" }),
  ]
  assert.deepEqual(sorted(...tasks), [4, 3, 1, 2, 5, 7, 6])
})

test("what has ended stands under the day of its end, the last ended first", () => {
  const tasks = [
    ended(1, [2026, 10, 26, 9]),
    ended(2, [2026, 10, 26, 8]),
    ended(3, [2026, 10, 25, 23]),
    ended(4, [2026, 10, 2]),
    ended(5, [2026, 9, 31, 23]),
  ]
  assert.deepEqual(sorted(...tasks), [1, 2, 3, 4, 5])
  // Both ended in the same second.
  assert.deepEqual(sorted(ended(6, [2026, 10, 2]), ended(7, [2026, 10, 2])), [7, 6])
})

test("days are those of the reader's zone, months stand for all that is older", () => {
  const { sections } = order
  const title = (/** @type {Task} */ task) => sections.title(sections.of(task))
  assert.equal(title(ended(1, [2026, 10, 26, 0])), "section.today")
  assert.equal(title(ended(1, [2026, 10, 25, 0])), "section.yesterday")
  // Ended tomorrow, by a clock that is ahead of this one.
  assert.equal(title(ended(1, [2027, 0, 1])), "section.today")
  assert.deepEqual(title(ended(1, [2026, 10, 24])), new Date(2026, 10, 1))
})

test("as far as a task goes all that a listing down to it would hold", () => {
  const tasks = [newTask(9, { stage: "download" }), newTask(5), newTask(3), newTask(1, { stage: "paused" })]
  assert.equal(order.last(tasks)?.number, 1)
  assert.equal(order.last([]), undefined)
  assert.deepEqual(order.asFarAs(newTask(3), tasks).map((task) => task.number), [9, 3])
  assert.deepEqual(order.asFarAs(undefined, tasks), tasks)
})

test("what is found stands by the day on which it was added, as the server lists it", () => {
  const found = new Order(new Sections(now, "state", true))
  const tasks = [ended(1, [2026, 10, 26]), ended(2, [2026, 10, 20]), newTask(3)]
  assert.deepEqual(tasks.sort((a, b) => found.compare(a, b)).map((task) => task.number), [3, 2, 1])
})

test("by the day added all stand newest first, whatever they do", () => {
  const added = new Order(new Sections(now, "added"))
  const tasks = [
    newTask(1, { stage: "download" }),
    ended(3, [2026, 10, 1]),
    newTask(2),
    ended(4, [2026, 9, 1]),
  ]
  assert.deepEqual(tasks.sort((a, b) => added.compare(a, b)).map((task) => task.number), [4, 3, 2, 1])
})
