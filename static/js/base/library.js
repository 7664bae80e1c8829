// @ts-check
// The library: whether the service fills one, as only then the page offers it, and as what.

import { Problem } from "./api.js"

/** As what something can be put into the library. @type {Record<string, string>} */
export const LAYOUTS = {
  shows: "follow.layout_shows",
  movies: "follow.layout_movies",
  music: "follow.layout_music",
  podcast: "follow.layout_podcast",
}
/**
 * Whether there is a library, which is asked once for as long as the page is open.
 * @type {Promise<boolean> | undefined}
 */
let known

/** @param {import("./api.js").Api} api */
export const hasLibrary = (api) => known ??= ask(api)

/** @param {import("./api.js").Api} api */
async function ask(api) {
  const { checks } = await api.get("readyz").catch((error) => {
    if (error instanceof Problem) return error.body // `503`: the service lacks something else
    throw error
  })
  if (!checks) known = undefined // the service did not answer: the next call asks again
  return "library" in (checks ?? {})
}
