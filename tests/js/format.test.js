// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Format, I18n } from "../../static/js/base/i18n.js"

const english = new Format("en")

test("sizes and speeds step up by a thousand", () => {
  const sizes = [0, 999, 1_000, 99_949, 1_500_000, 158_008_374, 2 ** 40, 5e15]
  const texts = sizes.map((bytes) => english.size(bytes))
  assert.deepEqual(texts, ["0 byte", "999 byte", "1 kB", "99.9 kB", "1.5 MB", "158 MB", "1.1 TB", "5,000 TB"])
  assert.equal(english.speed(3_140_000.4), "3.1 MB/s")
})

test("a duration is a clock, with hours from the first one on", () => {
  const seconds = [0, 7.4, 59.6, 187, 3_599.4, 3_600, 3_723, 360_000]
  const texts = ["0:00", "0:07", "1:00", "3:07", "59:59", "1:00:00", "1:02:03", "100:00:00"]
  assert.deepEqual(seconds.map((time) => english.clock(time)), texts)
})

test("a moment of today is a time, any other has its date, however near it is", () => {
  const { now } = Date
  Date.now = () => new Date(2026, 2, 14, 22, 0).getTime()
  try {
    const ofToday = english.moment(new Date(2026, 2, 14, 0, 5))
    assert.match(ofToday, /^12:05\sAM$/)
    assert.match(english.moment(new Date(2026, 2, 15, 0, 5)), /^Mar 15, 2026/)
    assert.match(english.moment(new Date(2026, 2, 13, 23, 55)), /^Mar 13, 2026/)
  } finally {
    Date.now = now
  }
})

test("the service's clock counts where this machine's is wrong, and not where answers are merely slow", () => {
  const i18n = new I18n()
  const ahead = () => Math.round((i18n.now() - Date.now()) / 10_000) * 10
  for (const [seconds, told] of [[86_400, 86_400], [-86_400, -86_400], [30, 0], [-30, 0]]) {
    i18n.setClock(new Date(Date.now() + seconds * 1_000).toUTCString())
    assert.equal(ahead() + 0, told)
  }
  i18n.setClock(null)
  assert.equal(ahead() + 0, 0)
})
