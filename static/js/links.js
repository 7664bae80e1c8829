// @ts-check
// Finds the links in whatever was pasted: apps share them in a sentence, people in brackets and lists.

const FULL_WIDTH = /[[\u3000-\u303f\ufe10-\ufe1f\ufe30-\ufe6f\uff00-\uff65]&&[\p{P}\p{S}\p{Z}]]/v.source
const INVISIBLE = /[[\p{Cc}\p{Cf}]--[\u200c\u200d]]/v.source // joiners are part of words
const QUOTES = '["`<>“”„‟‘’‚‛«»]'
/** What ends a link. An apostrophe may be part of one. */
const END = `\\s|${QUOTES}|${FULL_WIDTH}|${INVISIBLE}`
/** In a list without spaces the next link begins right behind a comma. */
const NEXT = "['\\)\\]]{0,2}[,;\\|]['\\(\\[]{0,2}(?:https?://|www\\.)"
/** A link without https://, as people say it; not within another word or another link. */
const BARE = "(?<![\\w.\\/@\\-])www\\.(?=[\\w\\-]+\\.)"
const LINK = new RegExp(`(?:https?://|${BARE})(?:(?!${END}|${NEXT}).)+`, "giv")
const CLOSING = new Set(".,;:!?'…")
/** @type {Record<string, string>} */
const OPENING = { ")": "(", "]": "[", "}": "{" }

/**
 * Each link of each line, in order. A line without one goes as it is: the server says what is wrong with it.
 * @param {string} text
 * @returns {string[]}
 */
export function linksIn(text) {
  const lines = text.split("\n").map((line) => line.trim()).filter(Boolean)
  return lines.flatMap((line) => {
    const found = (line.match(LINK) ?? []).map(withoutPunctuation)
    const links = found.map((link) => (/^www\./i.test(link) ? `https://${link}` : link)).filter((link) =>
      URL.canParse(link)
    )
    return links.length ? links : [line]
  })
}

/**
 * Without what closes the sentence around the link; a bracket that was opened within the link stays.
 * @param {string} link
 */
function withoutPunctuation(link) {
  const unopened = unopenedBrackets(link)
  let end = link.length
  for (; end > 0; end -= 1) {
    const last = link[end - 1]
    if (last in OPENING ? unopened[last]-- <= 0 : !CLOSING.has(last)) break
  }
  return link.slice(0, end)
}

/**
 * How many more closing brackets than opened ones of each kind there are.
 * @param {string} link
 */
function unopenedBrackets(link) {
  const count = (/** @type {string} */ bracket) => link.split(bracket).length - 1
  return Object.fromEntries(
    Object.entries(OPENING).map(([close, open]) => [close, count(close) - count(open)]),
  )
}
