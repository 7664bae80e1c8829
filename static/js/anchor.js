// @ts-check
// Keeps what is being read where it is, while rows above it come, go and move.

/** @typedef {{id: string, key: number, y: number}} Anchor  a row, its section, and where it is in the window */

/**
 * The first row that is wholly in sight; null while the top of the list is in sight: there new rows may push others.
 * @param {Map<string, {top: number, key: number}>} places  of the rows that are there
 * @param {number} sight  px from the top of the list to that of the window
 * @returns {Anchor | null}
 */
export function anchorOf(places, sight) {
  if (sight <= 0) return null
  for (const [id, { top, key }] of places) if (top >= sight) return { id, key, y: top - sight }
  return null
}

/**
 * Scroll so that the row is where it was, unless it went to another section: then it is not followed. Returns
 * whether it had to scroll.
 * @param {Anchor} anchor
 * @param {import("./geometry.js").Geometry} geometry
 * @param {import("./view.js").View} view
 * @param {number} sight
 */
export function restore({ id, key, y }, geometry, view, sight) {
  const index = view.indexOf(id)
  if (index < 0 || view.sectionAt(index)?.key !== key) return false
  const by = geometry.top(index) - sight - y
  if (Math.abs(by) < 1) return false
  scrollBy({ top: by, behavior: "instant" })
  return true
}
