// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Heights } from "../../static/js/heights.js"
import { plan } from "../../static/js/plan.js"

const SPACE = 10
const HIGH = Array(200).fill(90)

/**
 * @param {number[]} heights
 * @param {number} top
 * @param {number} bottom
 * @param {number[]} [kept]
 */
const planned = (heights, top, bottom, kept = []) => plan(heights, SPACE, { top, bottom }, new Set(kept))

/** @param {import("../../static/js/plan.js").Piece[]} pieces */
const rows = (pieces) => pieces.filter((piece) => typeof piece === "number")

/** @param {import("../../static/js/plan.js").Piece[]} pieces  as high as the whole list would be */
function heightOf(pieces) {
  const heights = pieces.map((piece) => (typeof piece === "number" ? 90 : piece.height))
  return heights.reduce((sum, height) => sum + height, 0) + (heights.length - 1) * SPACE
}

test("rows in sight are there, and gaps are as high as the rows they stand for", () => {
  const pieces = planned(HIGH, 1_000, 1_200)
  assert.deepEqual(rows(pieces), [10, 11])
  assert.equal(heightOf(pieces), 200 * 100 - SPACE)
  assert.deepEqual(pieces[0], { name: "0", from: 0, to: 10, height: 990 })
})

test("each row is there once or in one gap", () => {
  const pieces = planned(HIGH, 7_000, 7_900, [3, 120])
  const indices = pieces.flatMap((piece) =>
    typeof piece === "number"
      ? [piece]
      : Array.from({ length: piece.to - piece.from }, (_, at) => piece.from + at)
  )
  assert.deepEqual(indices, [...HIGH.keys()])
  assert.equal(heightOf(pieces), 200 * 100 - SPACE)
  assert.ok(rows(pieces).includes(3) && rows(pieces).includes(120))
})

test("a long gap is several, with names that stay when the window moves", () => {
  const names = (/** @type {number} */ top) =>
    planned(HIGH, top, top + 500).flatMap((piece) => (typeof piece === "number" ? [] : [piece.name]))
  assert.deepEqual(names(0), ["0", "1", "2", "3"])
  assert.deepEqual(names(7_200), ["0", "1", "1", "2", "3"])
})

test("a list that is in sight as a whole has no gaps, an empty one nothing", () => {
  assert.deepEqual(planned([90, 90], -100, 300), [0, 1])
  assert.deepEqual(planned([], 0, 100), [])
})

test("far from the list there is one gap, and no row", () => {
  assert.deepEqual(planned([90, 90], 5_000, 6_000), [{ name: "0", from: 0, to: 2, height: 190 }])
})

test("heights are guessed from those that were measured first, once", () => {
  const heights = new Heights()
  assert.equal(heights.measured([["a", 100], ["b", 200]]), true)
  assert.equal(heights.of("c"), 150)
  assert.equal(heights.measured([["a", 100], ["d", 900]]), true)
  assert.deepEqual([heights.of("a"), heights.of("d"), heights.of("c")], [100, 900, 150])
  assert.equal(heights.measured([["a", 100]]), false)
})

test("a row that is not laid out has no height to learn from", () => {
  const heights = new Heights()
  assert.equal(heights.measured([["a", 0]]), false)
  assert.ok(heights.of("a") > 0)
})
