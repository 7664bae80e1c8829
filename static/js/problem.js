// @ts-check

/** An answer that says no (RFC 9457), or none at all (`status` 0). */
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
