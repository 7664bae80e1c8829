// @ts-check
// Whether the service fills a library: only then the page offers to put files there, in one of its layouts.

import { Problem } from "./api.js"

/** The layouts of the library, with the keys of their names. @type {Record<string, string>} */
export const LAYOUTS = {
  shows: "follow.layout_shows",
  movies: "follow.layout_movies",
  music: "follow.layout_music",
  podcast: "follow.layout_podcast",
}
/** Whether there is a library. The page asks the service once. @type {Promise<boolean> | undefined} */
let known

/** @param {import("./api.js").Api} api */
export const hasLibrary = (api) => known ??= ask(api)

/** @param {import("./api.js").Api} api */
async function ask(api) {
  const { checks } = await api.get("readyz").catch((error) => {
    // A `503` comes with all checks: the service lacks another thing.
    if (error instanceof Problem) return error.body
    throw error
  })
  if (!checks) known = undefined // the service did not answer: the next call repeats the request
  return "library" in (checks ?? {})
}
