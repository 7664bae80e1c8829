// @ts-check
// The three options that are always visible: the outputs (video, audio or both), the quality, and the
// subtitles.

import { on } from "../base/dom.js"
import { DEFAULTS, doesApply, makesVideo, wantsSubtitles } from "./options.js"

const MEDIA = ["video", "audio"]

/**
 * Show the chosen options in these fields, and take the reader's choices from them.
 * @param {HTMLElement} root a copy of those at the box
 * @param {Pick<import("./options.js").Options, "chosen" | "choose"> & EventTarget} options
 */
export function bindBasics(root, options) {
  const files = /** @type {HTMLInputElement[]} */ ([...root.querySelectorAll("[name=files]")])
  const [quality, subtitles, languages] = ["quality", "subtitles", "languages"].map((
    name,
  ) => /** @type {any} */ (root.querySelector(`[name=${name}]`)))
  /** Return the chosen outputs that are among `MEDIA`, or those that are not. */
  const outputs = (/** @type {boolean} */ areMedia) =>
    options.chosen.outputs.filter((/** @type {string} */ output) => MEDIA.includes(output) === areMedia)

  const show = () => {
    const { chosen } = options
    for (const each of files) {
      each.checked = each.value === MEDIA.filter((one) => outputs(true).includes(one)).join()
    }
    const [neither] = files.slice(-1)
    // Without another output, "neither" would make no file.
    neither.parentElement?.toggleAttribute("hidden", !outputs(false).length)
    quality.parentElement.hidden = !doesApply("quality", chosen)
    quality.value = chosen.quality
    const hasVideo = makesVideo(chosen)
    const [isFile, isInVideo] = [chosen.outputs.includes("subtitles"), chosen.embed && hasVideo]
    subtitles.value = [isFile && "file", isInVideo && "video"].filter(Boolean).join()
    for (const each of subtitles.options) {
      each.hidden = each.disabled = each.value.includes("video") && !hasVideo
    }
    languages.hidden = !wantsSubtitles(chosen)
    if (languages.value !== chosen.languages) languages.value = chosen.languages
  }

  root.addEventListener("input", ({ target }) => {
    const { name, value } = /** @type {HTMLInputElement} */ (target)
    if (name === "files") options.choose("outputs", [...value.split(",").filter(Boolean), ...outputs(false)])
    else if (name === "subtitles") {
      const others = options.chosen.outputs.filter((/** @type {string} */ output) => output !== "subtitles")
      const made = value.includes("file") ? [...others, "subtitles"] : others
      options.choose("embed", value.includes("video"))
      options.choose("outputs", made.length ? made : DEFAULTS.outputs)
    } else options.choose(name, value)
    show()
  })
  on(options, "change", show)
  show()
}
