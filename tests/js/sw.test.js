// @ts-check
import assert from "node:assert/strict"
import { test } from "node:test"

/** @type {Record<string, (event: any) => void>} */
const listeners = {}
/** @type {any} */
const browser = globalThis
Object.defineProperty(browser, "location", {
  value: new URL("https://clipwire.example/static/js/sw.js"),
  configurable: true,
})
browser.addEventListener = (/** @type {string} */ type, /** @type {any} */ then) => (listeners[type] = then)

test("a page of an earlier release keeps its scripts, and no other answer is replaced", async () => {
  await import("../../static/js/sw.js")
  Object.defineProperty(browser, "caches", {
    value: { match: () => Promise.resolve(new Response("kept")) },
    configurable: true,
  })
  /** @type {[path: string, mode: string, status: number, expected: string][]} */
  const cases = [
    ["static/later.js?old", "cors", 404, "kept"],
    ["static/later.js?old", "cors", 500, "fresh"],
    ["", "navigate", 404, "fresh"],
    ["", "navigate", 401, "fresh"],
  ]
  for (const [path, mode, status, expected] of cases) {
    browser.fetch = () => Promise.resolve(new Response("fresh", { status }))
    /** @type {Promise<Response> | undefined} */
    let answer
    const request = { url: `https://clipwire.example/${path}`, method: "GET", mode }
    listeners.fetch({ request, respondWith: (/** @type {Promise<Response>} */ given) => (answer = given) })
    assert.equal(await (await answer)?.text(), expected)
  }
})

test("what cannot be kept is given to the page all the same", async () => {
  await import("../../static/js/sw.js")
  const full = () => Promise.reject(new DOMException("no room", "QuotaExceededError"))
  Object.defineProperty(browser, "caches", {
    value: { open: full, match: () => Promise.resolve(undefined) },
    configurable: true,
  })
  browser.fetch = () => Promise.resolve(new Response("the page"))
  /** @type {Promise<Response> | undefined} */
  let answer
  const request = { url: "https://clipwire.example/", method: "GET", mode: "navigate" }
  listeners.fetch({ request, respondWith: (/** @type {Promise<Response>} */ given) => (answer = given) })
  assert.equal(await (await answer)?.text(), "the page")
})
