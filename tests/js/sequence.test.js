// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Sequence } from "../../static/js/list/list.js"

/** @typedef {{task_id: string, rank: number}} Item */

/** @param {number[]} ranks */
function sequenceOf(...ranks) {
  /** @type {Sequence<Item>} */
  const sequence = new Sequence((a, b) => a.rank - b.rank || Number(a.task_id) - Number(b.task_id))
  for (const [id, rank] of ranks.entries()) sequence.put({ task_id: String(id), rank })
  return sequence
}

/** @param {Sequence<Item>} sequence */
const idsOf = (sequence) => sequence.items.map((item) => item.task_id).join("")

test("items stand in order, whatever the order they came in", () => {
  assert.equal(idsOf(sequenceOf(3, 1, 2, 1)), "1320")
})

test("an item that changes its place is found there", () => {
  const sequence = sequenceOf(1, 2, 3)
  assert.equal(sequence.put({ task_id: "0", rank: 9 }), true)
  assert.equal(idsOf(sequence), "120")
  assert.equal(sequence.indexOf("0"), 2)
  assert.equal(sequence.get("0")?.rank, 9)
})

test("an item that only changes is replaced where it stands", () => {
  const sequence = sequenceOf(1, 2, 3)
  const item = { task_id: "1", rank: 2 }
  assert.equal(sequence.put(item), false)
  assert.equal(sequence.items[1], item)
})

test("what was removed is not there, and what never was is not missed", () => {
  const sequence = sequenceOf(1, 2, 3)
  sequence.remove("1")
  sequence.remove("7")
  assert.equal(idsOf(sequence), "02")
  assert.equal(sequence.indexOf("1"), -1)
  assert.equal(sequence.get("1"), undefined)
})

test("a thousand random changes end in the order of a sort", () => {
  const sequence = sequenceOf()
  /** @type {Map<string, Item>} */
  const all = new Map()
  for (let step = 0, seed = 7; step < 1_000; step += 1) {
    seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31
    const item = { task_id: String(seed % 90), rank: (seed >> 8) % 20 }
    if (seed % 5) sequence.put(item), all.set(item.task_id, item)
    else sequence.remove(item.task_id), all.delete(item.task_id)
  }
  const sorted = [...all.values()].sort((a, b) => a.rank - b.rank || Number(a.task_id) - Number(b.task_id))
  assert.deepEqual(sequence.items, sorted)
  for (const [index, item] of sorted.entries()) assert.equal(sequence.indexOf(item.task_id), index)
})
