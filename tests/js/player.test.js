// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { cuesIn, secondsOf, timeOf } from "../../static/js/player/player.js"

test("SubRip and WebVTT are read alike, with lines of any system", () => {
  const srt =
    "1\r\n00:00:01,500 --> 00:00:03,000\r\nBread\r\nand butter\r\n\r\n2\r\n01:00:00,000 --> 01:00:01,000\r\nEnd\r\n"
  assert.deepEqual(cuesIn(srt), [
    { start: 1.5, end: 3, text: "Bread\nand butter" },
    { start: 3600, end: 3601, text: "End" },
  ])
  const vtt =
    "WEBVTT\n\nNOTE by nobody\n\nname\n00:01.500 --> 00:03.000 align:start\n<c.red>Bread</c> and <i>butter</i>\n"
  assert.deepEqual(cuesIn(vtt), [{ start: 1.5, end: 3, text: "Bread and <i>butter</i>" }])
})

test("what is no cue is passed over", () => {
  for (
    const text of [
      "",
      "WEBVTT",
      "<!doctype html><p>1 --> 2",
      "00:00:02,000 --> 00:00:01,000\nback",
      "00:01.0 --> 00:02.0\n\n",
    ]
  ) {
    assert.deepEqual(cuesIn(text), [])
  }
})

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
  assert.equal(timeOf(Infinity), "") // a film that is still being downloaded
})
