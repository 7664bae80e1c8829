// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Format, I18n } from "../../static/js/i18n.js"

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

test("a moment of today is a time, an earlier one has its date", () => {
  assert.match(english.moment(new Date()), /^\d\d:\d\d\s[AP]M$/)
  assert.match(english.moment(new Date(2024, 1, 3, 14, 5)), /^Feb 3, 2024/)
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
