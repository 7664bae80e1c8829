// @ts-check
// Reads and fills the fields of a form.

/**
 * @param {HTMLFormElement} form
 * @returns {import("./wishes.js").Fields}
 */
export function fieldsOf(form) {
  const data = new FormData(form)
  return { ...Object.fromEntries(/** @type {any} */ (data)), outputs: data.getAll("outputs").map(String) }
}

/**
 * @param {HTMLFormElement} form
 * @param {string[]} names  of the fields to fill; one without a stored value becomes empty
 * @param {Record<string, any>} stored
 */
export function fill(form, names, stored) {
  for (const name of names) put(/** @type {any} */ (form.querySelector(`[name=${name}]`)), stored[name] ?? "")
  const { outputs } = stored
  if (!Array.isArray(outputs) || !outputs.length) return
  for (const box of form.querySelectorAll("input[name=outputs]")) {
    const output = /** @type {HTMLInputElement} */ (box)
    output.checked = outputs.includes(output.value)
  }
}

/**
 * @param {HTMLInputElement | HTMLSelectElement} field
 * @param {unknown} value
 */
function put(field, value) {
  if (field instanceof HTMLSelectElement) {
    if ([...field.options].some((option) => option.value === String(value))) field.value = String(value)
  } else if (field.type === "checkbox") field.checked = Boolean(value)
  else field.value = String(value)
}
