// @ts-check
// A link that was sent, and what the server's payload says of it.

/**
 * `id` is the task's, once the server has one; `file` is the path at the server that opens the finished file. `isNew`: the
 * user has not seen its end yet.
 * @typedef {object} Link
 * @property {string} key
 * @property {string} url
 * @property {string} title
 * @property {string} preset
 * @property {"waiting" | "processing" | "completed" | "error"} status
 * @property {number} progress
 * @property {boolean} isNew
 * @property {string} [id]
 * @property {number} [revision]
 * @property {string} [file]
 * @property {string} [error]
 */

const LONGEST_TITLE = 500 // characters: the server takes no longer title

/** @param {string} url @param {string} title @param {string} preset @returns {Link} */
export function newLink(url, title, preset) {
  const cut = [.../** @type {any} */ (title.trim()).toWellFormed()].slice(0, LONGEST_TITLE).join("")
  const key = crypto.randomUUID()
  return { key, url, title: cut, preset, status: "waiting", progress: 0, isNew: true }
}

/** @param {Link} link */
export function isOpen(link) {
  return link.status === "waiting" || link.status === "processing"
}

/**
 * Return `link` as the payload shows it, or unchanged if the payload is older.
 * @param {Link} link
 * @param {any} task
 * @returns {Link}
 */
export function updated(link, task) {
  if (task.revision <= (link.revision ?? 0)) return link
  const { file: _, error: __, ...kept } = link
  const kind = ["video", "audio", ...Object.keys(task.files)].find((each) => each in task.files)
  // The server's page plays films. A tab of its own may not: the server sends downloads with a sandbox.
  const isPlayed = kind && /^(video|audio)\//.test(task.file_info[kind]?.type ?? "")
  return {
    ...kept,
    id: task.task_id,
    revision: task.revision,
    status: task.status,
    progress: task.progress,
    title: task.video_info.title ?? link.title,
    ...(task.status === "completed" && kind &&
      { file: isPlayed ? `?play=${task.task_id}` : task.files[kind] }),
    ...(task.error && { error: task.error }),
  }
}
