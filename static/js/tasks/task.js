// @ts-check
// A task as the page knows it: the payload of the API, and what follows from its stage.

/**
 * @typedef {"queued" | "info" | "download" | "convert" | "paused" | "completed" | "failed" | "cancelled"} Stage
 *
 * @typedef {{state: "waiting" | "placed", reason?: string, path?: string, paths: string[]}} Place  in the library
 *
 * @typedef {object} Task  the one status payload; a field that does not apply is absent
 * @property {string} task_id
 * @property {"processing" | "completed" | "error"} status
 * @property {number} progress  0-100
 * @property {string} message  one sentence in the reader's language
 * @property {string} created_at
 * @property {string} [owner]  told to admins, where lists are separate
 * @property {string} [created_by]  where there are people
 * @property {string} [completed_at]
 * @property {{title?: string, duration?: number, uploader?: string, webpage_url?: string, extractor?: string, width?: number, height?: number, filesize?: number, live?: boolean, cut?: boolean}} video_info
 * @property {Record<string, string>} files  kind -> link
 * @property {Record<string, {size: number, type: string, title?: string, codec?: string, sha256?: string}>} [file_info]
 * @property {string} [error]
 * @property {string} [error_code]
 * @property {string} [hint]
 * @property {string[]} [remedies]  what the service itself could do about it
 * @property {string} url
 * @property {Stage} stage
 * @property {number} revision
 * @property {number} priority
 * @property {number} [rank]  which outranks priorities: it was moved to the front or the end
 * @property {number} attempt
 * @property {number} [downloaded_bytes]
 * @property {number} [total_bytes]
 * @property {string} [started_at]  when the attempt began to download
 * @property {number} [speed]  bytes a second
 * @property {number} [eta]  seconds
 * @property {string} [waiting]  what a queued task waits for, a code
 * @property {string} [not_before]  the time before which a queued task does not begin
 * @property {number} number  the order of acceptance: newer tasks have higher ones
 * @property {string} [subscription_id]  the subscription that made it
 * @property {string} [playlist_id]  the list that it is an entry of
 * @property {{total: number, completed: number, failed: number, truncated?: boolean}} [entries]  of a list
 * @property {Place} [library]  of one whose files go there
 * @property {string} [thumbnail]  the link to the small picture, once there is one
 */

/** @type {readonly Stage[]} */
export const RUNNING_STAGES = ["info", "download", "convert"]
/** @type {readonly Stage[]} */
export const WAITING_STAGES = ["queued", "paused"]

/** The error codes that only ask the reader which entries to download, or whether to record. */
const ASKS = ["is_playlist", "live_rejected", "not_live"]

/**
 * Return whether the row of the task asks the reader something, so that it does not count as failed.
 * @param {Task} task
 */
export const isAsking = ({ stage, error_code = "" }) => stage === "failed" && ASKS.includes(error_code)

/** @param {Task} task */
export const isRunning = (task) => RUNNING_STAGES.includes(task.stage)

/**
 * Return whether the task is recording a broadcast.
 * @param {Task} task
 */
export const isRecorded = ({ stage, video_info: { live } }) => Boolean(live) && stage === "download"

/**
 * Return whether the task is in the queue, or paused.
 * @param {Task} task
 */
export const isWaiting = (task) => WAITING_STAGES.includes(task.stage)

/** @param {Task} task */
export const isFinal = (task) => task.status !== "processing"

/**
 * Return when the task ended, as a text whose alphabetical order is that of time.
 * @param {Task} task
 */
export const endOf = ({ completed_at, created_at }) => completed_at ?? created_at

/** Matches a visible character: some titles have none. */
export const VISIBLE = /[^\s\p{C}]/u

/**
 * The title of each link that was found before the link was sent; its task has this title until the service
 * knows one.
 * @type {Map<string, {title?: string, thumbnail?: string}>}
 */
export const looks = new Map()

/**
 * The owners of tasks: the words for one in a row, the admin who is logged in, and the person for whom this
 * admin adds. All are "" unless the reader sees several people.
 * @type {{of: (task: Task) => string, said: (task: Task) => string, admin: string, chosen: string}}
 */
export const owners = { of: () => "", said: () => "", admin: "", chosen: "" }

/**
 * Return the path of a request that adds a download or a subscription, with `owner` if an admin adds it for
 * this person.
 * @param {string} path
 * @param {string} [owner] "": who asks
 */
export const ownedPath = (path, owner) => owner ? `${path}?owner=${owner}` : path

/** @param {Task} task */
export function titleOf({ video_info: { title = "" }, url }) {
  return [title, looks.get(url)?.title ?? ""].find((each) => VISIBLE.test(each)) ?? readableLink(url)
}

/**
 * Return the common name of the task's site.
 * @param {Task} task
 */
export function hostOf({ url, video_info: { webpage_url } }) {
  const link = webpage_url ?? url
  return URL.canParse(link) ? new URL(link).hostname.replace(/^www\./, "") : ""
}

/**
 * Return the letter in place of a picture: the first of the site, or of the title if the site is only a
 * number.
 * @param {Task} task
 */
export const letterOf = (task) => (/\p{L}/u.exec(hostOf(task) + titleOf(task))?.[0] ?? "").toUpperCase()

/**
 * Return a link in a readable form, which begins with the host.
 * @param {string} link
 */
const readableLink = (link) => link.replace(/^https?:\/\/(www\.)?/i, "").replace(/\/$/, "") || link

/**
 * Return the link if it is http(s), else null: metadata comes from strangers and may have a `javascript:`
 * link.
 * @param {string | undefined} link
 */
export function webLink(link) {
  if (!link || !URL.canParse(link, document.baseURI)) return null
  const url = new URL(link, document.baseURI)
  return url.protocol === "https:" || url.protocol === "http:" ? url : null
}
