// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

import { Questions } from "../../static/js/tasks/connection.js"

/**
 * A connection whose requests are answered when the test says so.
 * @param {string[]} names
 */
function questionsOf(...names) {
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
  const questions = new Questions(Object.fromEntries(names.map((name) => [name, ask(name)])))
  questions.addEventListener("answered", (event) => {
    log.push(`${/** @type {CustomEvent} */ (event).detail.question}!`)
  })
  questions.addEventListener("failed", () => log.push("failed"))
  return { questions, log, answers }
}

const settled = () => new Promise((resolve) => setTimeout(resolve))

test("one question at a time, the most urgent first", async () => {
  const { questions, log, answers } = questionsOf("first", "second", "third")
  questions.add("third")
  questions.add("second")
  questions.add("first")
  assert.deepEqual(log, ["third"])
  for (let index = 0; index < 3; index += 1) {
    answers[index].resolve(null)
    await settled()
  }
  assert.deepEqual(log, ["third", "third!", "first", "first!", "second", "second!"])
  assert.equal(questions.isAsking, false)
})

test("a question that fails waits until it is asked again, and so do the others", async () => {
  const { questions, log, answers } = questionsOf("first", "second")
  questions.add("second")
  questions.add("first")
  answers[0].reject(new Error("no"))
  await settled()
  assert.deepEqual(log, ["second", "failed"])
  assert.ok(questions.has("first") && questions.has("second"))
  questions.go()
  answers[1].resolve(null)
  await settled()
  answers[2].resolve(null)
  await settled()
  assert.deepEqual(log.slice(2), ["first", "first!", "second", "second!"])
})

test("what is asked for while it is asked is asked once more", async () => {
  const { questions, log, answers } = questionsOf("first")
  questions.add("first")
  questions.add("first")
  questions.add("first")
  answers[0].resolve(null)
  await settled()
  answers[1].resolve(null)
  await settled()
  assert.deepEqual(log, ["first", "first!", "first", "first!"])
})

test("a question in place of all others ends the one that is asked, whose answer nobody hears", async () => {
  const { questions, log, answers } = questionsOf("first", "second")
  questions.add("second")
  questions.replace("first")
  await settled()
  answers[1].resolve(null)
  await settled()
  assert.deepEqual(log, ["second", "first", "first!"])
  assert.equal(questions.has("second"), false)
})

test("after a clear nothing is asked, and what was is not failed", async () => {
  const { questions, log } = questionsOf("first", "second")
  questions.add("first")
  questions.add("second")
  questions.clear()
  await settled()
  assert.deepEqual(log, ["first"])
})
