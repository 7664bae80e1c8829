// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { secondsOf, timeOf } from "../../static/js/clipper.js"

test("a mark is read as it is written, to the tenth", () => {
  for (
    const [seconds, text] of /** @type {[number, string][]} */ ([
      [0, "0:00.0"],
      [59.96, "1:00.0"],
      [187.5, "3:07.5"],
      [3723, "1:02:03.0"],
    ])
  ) {
    assert.equal(timeOf(seconds), text)
    assert.ok(Math.abs(secondsOf(text) - seconds) < 0.051)
  }
})

test("seconds alone are a mark as well, and other words are none", () => {
  assert.equal(secondsOf(" 90 "), 90)
  assert.equal(secondsOf("1:30"), 90)
  for (const text of ["", "1:", "a", "1:2:3:4", "-1"]) assert.ok(isNaN(secondsOf(text)))
  assert.equal(timeOf(NaN), "")
  assert.equal(timeOf(Infinity), "") // a film that still comes
})
