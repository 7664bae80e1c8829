// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Geometry, MOST_ROWS, stretches } from "../../static/js/list/layout.js"

const SIZES = { row: 72, head: 36 }
const SECTIONS = [{ key: 9, from: 0, to: 10 }, { key: 5, from: 10, to: 1000 }]

/** @param {[number, number][]} [opened] */
const placed = (opened = []) => new Geometry(SECTIONS, SIZES, new Map(opened))

test("sections stand below each other, rows below their heading", () => {
  const geometry = placed()
  assert.deepEqual(geometry.places, [{ key: 9, top: 0, height: 720 }, { key: 5, top: 756, height: 990 * 72 }])
  assert.equal(geometry.top(0), 36)
  assert.equal(geometry.top(10), 756 + 36)
  assert.equal(geometry.height, 1000 * 72 + 2 * 36)
})

test("an opened row moves what stands below it, and nothing above", () => {
  const geometry = placed([[3, 300]])
  assert.equal(geometry.top(3), 36 + 3 * 72)
  assert.equal(geometry.top(4), 36 + 4 * 72 + 300)
  assert.equal(geometry.places[1].top, 756 + 300)
  assert.equal(geometry.offset(11, 10), 72)
})

test("rows in sight are found, also below an opened one", () => {
  const sight = { top: 756 + 36 + 720, bottom: 756 + 36 + 1440 }
  assert.deepEqual(placed().inSight(1, sight), { from: 20, to: 31 })
  assert.deepEqual(placed([[12, 720]]).inSight(1, sight), { from: 12, to: 21 })
  assert.deepEqual(placed().inSight(0, sight), { from: 10, to: 10 })
  assert.deepEqual(placed().inSight(1, { top: 0, bottom: 700 }), { from: 10, to: 10 })
})

test("a window of whatever height holds no more rows than a document should", () => {
  const { from, to } = placed().inSight(1, { top: 2_000, bottom: 60_000 })
  assert.equal(to - from, MOST_ROWS)
})

test("an empty list has no height", () => {
  assert.equal(new Geometry([], SIZES, new Map()).height, 0)
})

test("each row is there once or in one gap, and long gaps are several", () => {
  const there = [120, 121, 122, 400]
  const found = stretches(SECTIONS[1], there)
  const rows = found.flatMap(([from, to]) => Array.from({ length: to - from }, (_, at) => from + at))
  assert.deepEqual([...rows, ...there].sort((a, b) => a - b), Array.from({ length: 990 }, (_, at) => at + 10))
  assert.ok(found.every(([from, to]) => to > from && to - from <= 50))
})
