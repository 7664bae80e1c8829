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
