// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Order } from "../../static/js/order.js"
import { newTask } from "./payloads.js"

/** @typedef {import("../../static/js/task.js").Task} Task */

const pinned = new Order({ isQueue: false, pinsRunning: true })
const plain = new Order({ isQueue: false, pinsRunning: false })
const queue = new Order({ isQueue: true, pinsRunning: false })

/**
 * @param {Order} order
 * @param {Task[]} tasks
 */
const sorted = (order, ...tasks) => tasks.sort((a, b) => order.compare(a, b)).map((task) => task.number)

test("newer tasks come first, whatever the clock said when they were accepted", () => {
  const early = newTask(1, { created_at: "2030-01-01T00:00:00Z" })
  const late = newTask(2, { created_at: "2020-01-01T00:00:00Z" })
  assert.deepEqual(sorted(plain, early, late), [2, 1])
})

test("what runs stands on top, newest first", () => {
  const tasks = [newTask(1, { stage: "download" }), newTask(2), newTask(3, { stage: "info" }), newTask(4)]
  assert.deepEqual(sorted(pinned, ...tasks), [3, 1, 4, 2])
  assert.deepEqual(sorted(plain, ...tasks), [4, 3, 2, 1])
})

test("the queue has the next one first: the highest priority, then the oldest", () => {
  assert.deepEqual(sorted(queue, newTask(1), newTask(2), newTask(3, { priority: 5 })), [3, 1, 2])
})

test("as far as a task goes all that a listing down to it would hold", () => {
  const tasks = [newTask(1, { stage: "download" }), newTask(5), newTask(3)]
  assert.equal(pinned.last(tasks)?.number, 1)
  assert.equal(pinned.last([]), undefined)
  assert.deepEqual(pinned.asFarAs(newTask(3), tasks).map((task) => task.number), [5, 3])
  assert.deepEqual(pinned.asFarAs(undefined, tasks), tasks)
})
