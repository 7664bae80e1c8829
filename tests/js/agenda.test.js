// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Agenda } from "../../static/js/agenda.js"

/**
 * An agenda whose questions are answered when the test says so.
 * @param {string[]} names
 */
function agendaOf(...names) {
  /** @type {string[]} */
  const log = []
  /** @type {PromiseWithResolvers<unknown>[]} */
  const answers = []
  const ask = (/** @type {string} */ name) => (/** @type {AbortSignal} */ signal) => {
    log.push(name)
    const answer = Promise.withResolvers()
    signal.addEventListener("abort", () => answer.reject(signal.reason))
    answers.push(answer)
    return answer.promise
  }
  const agenda = new Agenda(Object.fromEntries(names.map((name) => [name, ask(name)])))
  agenda.addEventListener("answered", (event) => {
    log.push(`${/** @type {CustomEvent} */ (event).detail.question}!`)
  })
  agenda.addEventListener("failed", () => log.push("failed"))
  return { agenda, log, answers }
}

const settled = () => new Promise((resolve) => setTimeout(resolve))

test("one question at a time, the most urgent first", async () => {
  const { agenda, log, answers } = agendaOf("first", "second", "third")
  agenda.add("third")
  agenda.add("second")
  agenda.add("first")
  assert.deepEqual(log, ["third"])
  for (let index = 0; index < 3; index += 1) {
    answers[index].resolve(null)
    await settled()
  }
  assert.deepEqual(log, ["third", "third!", "first", "first!", "second", "second!"])
  assert.equal(agenda.isAsking, false)
})

test("a question that fails waits until it is asked again, and so do the others", async () => {
  const { agenda, log, answers } = agendaOf("first", "second")
  agenda.add("second")
  agenda.add("first")
  answers[0].reject(new Error("no"))
  await settled()
  assert.deepEqual(log, ["second", "failed"])
  assert.ok(agenda.has("first") && agenda.has("second"))
  agenda.go()
  answers[1].resolve(null)
  await settled()
  answers[2].resolve(null)
  await settled()
  assert.deepEqual(log.slice(2), ["first", "first!", "second", "second!"])
})

test("what is asked for while it is asked is asked once more", async () => {
  const { agenda, log, answers } = agendaOf("first")
  agenda.add("first")
  agenda.add("first")
  agenda.add("first")
  answers[0].resolve(null)
  await settled()
  answers[1].resolve(null)
  await settled()
  assert.deepEqual(log, ["first", "first!", "first", "first!"])
})

test("a question in place of all others ends the one that is asked, whose answer nobody hears", async () => {
  const { agenda, log, answers } = agendaOf("first", "second")
  agenda.add("second")
  agenda.replace("first")
  await settled()
  answers[1].resolve(null)
  await settled()
  assert.deepEqual(log, ["second", "first", "first!"])
  assert.equal(agenda.has("second"), false)
})

test("after a clear nothing is asked, and what was is not failed", async () => {
  const { agenda, log } = agendaOf("first", "second")
  agenda.add("first")
  agenda.add("second")
  agenda.clear()
  await settled()
  assert.deepEqual(log, ["first"])
})
