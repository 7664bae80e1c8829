// @ts-check
// Which rows of a long list are in the document, and how high the gaps between them are.

/** Rows in one gap: a long one is several, so that a browser lays out no more of its text than is in sight. */
const GAP_ROWS = 50

/**
 * Rows `from` up to, but without, `to`; the name is the same while it stands for about the same rows.
 * @typedef {{name: string, from: number, to: number, height: number}} Gap
 */
/** @typedef {number | Gap} Piece  a row's index, or what stands for rows that are not there */

/**
 * @param {number[]} heights  of all rows
 * @param {number} space  between two of them
 * @param {{top: number, bottom: number}} sight  measured from the top of the list
 * @param {Set<number>} kept  rows that are there wherever they stand
 * @returns {Piece[]}
 */
export function plan(heights, space, sight, kept) {
  /** @type {Piece[]} */
  const pieces = []
  /** @type {Gap | null} */
  let gap = null
  let y = 0
  for (const [index, height] of heights.entries()) {
    const isThere = kept.has(index) || (y + height > sight.top && y < sight.bottom)
    if (isThere) pieces.push(index)
    else if (gap && gap.to === index && index % GAP_ROWS) {
      gap.to += 1
      gap.height += space + height
    } else {
      gap = { name: String(Math.floor(index / GAP_ROWS)), from: index, to: index + 1, height }
      pieces.push(gap)
    }
    y += height + space
  }
  return pieces
}
