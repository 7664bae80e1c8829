// @ts-check

/** @typedef {import("../../static/js/tasks/task.js").Task} Task */

/**
 * A task as the API sends it.
 * @param {number} number
 * @param {Partial<Task>} [fields]
 * @returns {Task}
 */
export function newTask(number, fields = {}) {
  const stage = fields.stage ?? "queued"
  const isFailed = stage === "failed" || stage === "cancelled"
  return {
    task_id: `task-${number}`,
    status: stage === "completed" ? "completed" : isFailed ? "error" : "processing",
    progress: 0,
    message: "",
    created_at: "2025-03-01T12:00:00Z",
    video_info: {},
    files: {},
    url: `https://videos.example/${number}`,
    stage,
    revision: 1,
    priority: 0,
    attempt: 0,
    number,
    ...fields,
  }
}
