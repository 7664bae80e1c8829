// @ts-check
// The service worker: the page and its files are kept for when the server does not answer. What the API says never is.
// And a notice of the page that is clicked leads back to it.

const CACHE = "clipwire"
const worker = /** @type {any} */ (globalThis)
const { pathname: ROOT } = new URL("../../", location.href)

worker.addEventListener("install", (/** @type {any} */ event) => {
  worker.skipWaiting()
  event.waitUntil(keepShell().catch(() => {})) // what is missing is kept when the page next asks for it
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

/** Keep the page and all that it is made of: the visit that is going on may be the only one before the server is away. */
async function keepShell() {
  const page = await fetchAndKeep(ROOT)
  const files = page.matchAll(/(?:href|src)="(static\/[^"]*)/g)
  const scripts = await Promise.all([...files].map(([, path]) => fetchAndKeep(ROOT + path)))
  const later = scripts.join("").match(/later\.js\?\w+/) // what is imported on demand
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

/** Focus a page that is open already, else open one. */
async function showPage() {
  const windows = await worker.clients.matchAll({ type: "window", includeUncontrolled: true })
  const page = windows.find((/** @type {{url: string}} */ { url }) => new URL(url).pathname === ROOT)
  await (page ? page.focus() : worker.clients.openWindow(ROOT))
}

/**
 * The answer of the server; if there is none, the one that was kept last.
 * @param {Request} request
 */
async function answer(request) {
  const { pathname, search } = new URL(request.url)
  const key = pathname === ROOT ? ROOT : pathname + search // without the parameters by which links are shared
  try {
    const fresh = await fetch(request)
    if (fresh.ok) await keep(key, pathname, fresh.clone()).catch(() => {}) // the disk is full, or storage is forbidden
    // A server of a newer release does not have what belongs to this page.
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
 * Keep it in place of any other version of the same file.
 * @param {string} key
 * @param {string} pathname
 * @param {Response} fresh
 */
async function keep(key, pathname, fresh) {
  const cache = await caches.open(CACHE)
  await cache.delete(pathname, { ignoreSearch: true, ignoreVary: true })
  await cache.put(key, fresh)
}
