// @ts-check
// What is dropped on the page: links, a text, or files of text.

const MOST_TEXT_BYTES = 1_000_000

/**
 * Over a field the browser puts a text where the pointer is; a file it would open in place of the page, and a link
 * it would write into another one.
 * @param {DataTransfer | null} transfer
 */
export const isOurs = (transfer) =>
  transfer?.types.some((type) => type === "Files" || type === "text/uri-list") ?? false

/** @param {DataTransfer} transfer */
export async function textIn(transfer) {
  const dragged = linksOf(transfer) || transfer.getData("text")
  const texts = [...transfer.files].filter(({ type, size }) =>
    type.startsWith("text/") && size <= MOST_TEXT_BYTES
  )
  return [dragged, ...(await Promise.all(texts.map((file) => file.text())))].join("\n")
}

/**
 * Those of a list of links (RFC 2483), without its comments.
 * @param {DataTransfer} transfer
 */
function linksOf(transfer) {
  const lines = transfer.getData("text/uri-list").split(/[\r\n]+/)
  return lines.filter((line) => !line.startsWith("#")).join("\n")
}
