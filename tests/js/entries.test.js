// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { ranges, Ticks } from "../../static/js/intake/entries.js"

test("entries are named by ranges", () => {
  assert.equal(ranges([1, 2, 3, 7, 9, 10]), "1-3,7,9-10")
  assert.equal(ranges([]), "")
})

class Box {
  checked = true
  /** @param {number} number */
  constructor(number) {
    this.value = String(number)
  }
}
// @ts-expect-error: deno has no document
globalThis.HTMLInputElement = Box

/** @param {number} from @param {number} to */
const boxes = (from, to) =>
  Array.from({ length: to - from + 1 }, (_, at) => /** @type {any} */ (new Box(from + at)))

class List extends EventTarget {
  ticks = new Ticks(/** @type {any} */ (this), () => (this.changes += 1))
  changes = 0

  /** @param {Box} box @param {boolean} [shiftKey] */
  click(box, shiftKey = false) {
    box.checked = !box.checked
    const click = Object.defineProperty(new Event("click"), "target", { value: box })
    this.dispatchEvent(Object.assign(click, { shiftKey }))
  }
}

test("a range goes over pages, as the box that ends it says", () => {
  const list = new List()
  const [first, second] = [boxes(1, 5), boxes(6, 9)]
  list.ticks.add(first)
  list.ticks.add(second)
  list.click(first[3])
  list.click(second[2], true)
  assert.deepEqual(list.ticks.chosen, ["1", "2", "3", "9"])
  list.click(second[0])
  list.click(first[4], true)
  assert.deepEqual(list.ticks.chosen, ["1", "2", "3", "5", "6", "9"])
})

test("what comes later is as all were at last", () => {
  const list = new List()
  const have = boxes(3, 3)
  have[0].checked = false
  list.ticks.add([...boxes(1, 2), ...have])
  assert.deepEqual(list.ticks.chosen, ["1", "2"])
  list.ticks.toggleAll()
  list.ticks.toggleAll()
  list.ticks.add(boxes(4, 5))
  assert.deepEqual([list.ticks.chosen, list.ticks.count], [[], 5])
  list.ticks.toggleAll()
  list.ticks.add(boxes(6, 6))
  assert.deepEqual(list.ticks.chosen, ["1", "2", "3", "4", "5", "6"])
  list.ticks.clear()
  list.ticks.add(boxes(1, 1))
  assert.deepEqual(list.ticks.chosen, ["1"])
  assert.equal(list.changes, 7)
})
