// @ts-check
// The service worker. It stores the page and its files for when the server does not answer, but no answers of
// the API. And a click on a notification leads back to the page.

const CACHE = "clipwire"
const worker = /** @type {any} */ (globalThis)
const { pathname: ROOT } = new URL("../../", location.href)

worker.addEventListener("install", (/** @type {any} */ event) => {
  worker.skipWaiting()
  // A file that is missing is stored when the page next requests it.
  event.waitUntil(keepShell().catch(() => {}))
})
worker.addEventListener("activate", (/** @type {any} */ event) => event.waitUntil(worker.clients.claim()))
worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const { pathname, origin } = new URL(event.request.url)
  const isOurs = event.request.method === "GET" && origin === location.origin
  const isPage = pathname === ROOT && event.request.mode === "navigate"
  if (isOurs && (isPage || pathname.startsWith(`${ROOT}static/`))) event.respondWith(answer(event.request))
})
worker.addEventListener("notificationclick", (/** @type {any} */ event) => {
  event.notification.close()
  event.waitUntil(showPage())
})

/** Store the page and all its files: this visit may be the only one before the server is away. */
async function keepShell() {
  const page = await fetchAndKeep(ROOT)
  const files = page.matchAll(/(?:href|src)="(static\/[^"]*)/g)
  const scripts = await Promise.all([...files].map(([, path]) => fetchAndKeep(ROOT + path)))
  // The script with the modules that are loaded on demand.
  const later = scripts.join("").match(/later\.js\?\w+/)
  if (later) await fetchAndKeep(`${ROOT}static/${later[0]}`)
  const language = page.match(/id="texts" lang="(\w+)"/)?.[1]
  if (language) await fetchAndKeep(`${ROOT}static/i18n/${language}.json`)
}

/** @param {string} path */
async function fetchAndKeep(path) {
  const fresh = await fetch(path)
  if (!fresh.ok) throw new Error(`${path}: ${fresh.status}`)
  await keep(path, path.split("?")[0], fresh.clone())
  return await fresh.text()
}

/** Focus an open page, or open one. */
async function showPage() {
  const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true })
  const page = windows.find((/** @type {{url: string}} */ { url }) => new URL(url).pathname === ROOT)
  await (page ? page.focus() : worker.clients.openWindow(ROOT))
}

/**
 * Return the answer of the server or, if there is none, the stored one.
 * @param {Request} request
 */
async function answer(request) {
  const { pathname, search } = new URL(request.url)
  // The page is stored without the parameters by which links are shared.
  const key = pathname === ROOT ? ROOT : pathname + search
  try {
    const fresh = await fetch(request)
    if (fresh.ok) await keep(key, pathname, fresh.clone()).catch(() => {}) // the disk is full, or storage is forbidden
    // A server of a newer release no longer has the files of this page.
    return fresh.status === 404 && key !== ROOT ? (await keptOf(key)) ?? fresh : fresh
  } catch (error) {
    const kept = await keptOf(key)
    if (kept) return kept
    throw error
  }
}

/** @param {string} key */
const keptOf = (key) => caches.match(key, { ignoreVary: true })

/**
 * Store an answer in place of other versions of the same file.
 * @param {string} key
 * @param {string} pathname
 * @param {Response} fresh
 */
async function keep(key, pathname, fresh) {
  const cache = await caches.open(CACHE)
  await cache.delete(pathname, { ignoreSearch: true, ignoreVary: true })
  await cache.put(key, fresh)
}
