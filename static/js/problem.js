// @ts-check

/**
 * Await a module that is imported on demand. A server that was upgraded meanwhile does not have this version any more.
 * @template T
 * @param {Promise<T>} module
 * @param {import("./i18n.js").I18n} i18n
 * @throws {Problem}
 */
export async function fetched(module, i18n) {
  try {
    return await module
  } catch {
    throw new Problem(0, { code: "part_missing", detail: i18n.t("problem.part_missing") })
  }
}

/** An error answer (problem details, RFC 9457), or no answer at all (`status` 0). */
export class Problem extends Error {
  /**
   * @param {number} status
   * @param {{code?: string, title?: string, detail?: string, errors?: {field: string, message: string}[], checks?: any}} body
   */
  constructor(status, body) {
    const fields = (body.errors ?? []).map((error) => error.message)
    super(fields.join(" ") || body.detail || body.title || `HTTP ${status}`)
    this.status = status
    this.code = body.code ?? ""
    this.body = body
  }
}
