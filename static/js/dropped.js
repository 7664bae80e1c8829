// @ts-check
// What is dropped on the page: links, a text, or files of text.

const MOST_TEXT_BYTES = 1_000_000

/**
 * Whether the page handles a drop on a field. The browser inserts text well by itself, but it would open a file in
 * place of the page, and write a link into the middle of another one.
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
 * The links of a `text/uri-list` (RFC 2483), without its comments.
 * @param {DataTransfer} transfer
 */
function linksOf(transfer) {
  const lines = transfer.getData("text/uri-list").split(/[\r\n]+/)
  return lines.filter((line) => !line.startsWith("#")).join("\n")
}
