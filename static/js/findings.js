// @ts-check
// Which tasks hold the text that is searched for: only the server can say (it folds letters its own way).

/** @typedef {import("./task.js").Task} Task */

export class Findings {
  /** The server's last answer on a task, and the task as it was then. @type {Map<string, {isIn: boolean, task: Task}>} */
  #said = new Map()

  /** @param {Task[]} tasks  as the server listed them */
  found(tasks) {
    for (const task of tasks) this.#said.set(task.task_id, { isIn: true, task })
  }

  /**
   * The server did not list these tasks. It was asked for some by stage, so a task that has changed its stage
   * meanwhile may have been missed: that it does not match holds for this stage only.
   * @param {Task[]} tasks  as they were when the server was asked
   */
  missed(tasks) {
    for (const task of tasks) this.#said.set(task.task_id, { isIn: false, task })
  }

  /**
   * Whether the task holds the text; undefined: ask the server.
   * @param {Task} task
   */
  has(task) {
    const said = this.#said.get(task.task_id)
    if (!said || wordsOf(said.task) !== wordsOf(task)) return undefined
    return said.isIn || said.task.stage === task.stage ? said.isIn : undefined
  }
}

/** @param {Task} task */
const wordsOf = ({ url, video_info: { title, uploader } }) => JSON.stringify([url, title, uploader])
