// @ts-check
// Numbers and times as a reader of one language writes them.

const DAY_MS = 86_400_000
const BYTE_UNITS = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"]

export class Format {
  #language
  #time
  #date
  #month
  /** @type {Map<string, Intl.NumberFormat>} */
  #numbers = new Map()

  /** @param {string} language */
  constructor(language) {
    this.#language = language
    this.#time = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit" })
    this.#date = new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" })
    this.#month = new Intl.DateTimeFormat(language, { month: "long", year: "numeric" })
  }

  /** @param {number} n */
  count(n) {
    return n.toLocaleString(this.#language)
  }

  /** @param {number} bytes */
  size(bytes) {
    return this.#inBytes(bytes, "")
  }

  /** @param {number} bytesPerSecond */
  speed(bytesPerSecond) {
    return this.#inBytes(bytesPerSecond, "-per-second")
  }

  /**
   * 3:07, or 1:02:03 from an hour on.
   * @param {number} seconds
   */
  clock(seconds) {
    const whole = Math.round(seconds)
    const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
    const two = (/** @type {number} */ n) => String(n).padStart(2, "0")
    return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`
  }

  /**
   * The time alone within a day, else with the date.
   * @param {Date} moment
   */
  moment(moment) {
    const recent = Math.abs(Date.now() - moment.getTime()) < DAY_MS
    return (recent ? this.#time : this.#date).format(moment)
  }

  /** @param {Date} moment */
  whole(moment) {
    return this.#date.format(moment)
  }

  /** @param {Date} moment */
  month(moment) {
    return this.#month.format(moment)
  }

  /**
   * @param {number} bytes
   * @param {string} per
   */
  #inBytes(bytes, per) {
    const step = Math.min(Math.max(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), 0), BYTE_UNITS.length - 1)
    const value = bytes / 1000 ** step
    return this.#number(BYTE_UNITS[step] + per, step > 0 && value < 100 ? 1 : 0).format(value)
  }

  /**
   * A cached formatter: they are expensive to make, and needed hundreds of times a second.
   * @param {string} unit
   * @param {number} digits
   */
  #number(unit, digits) {
    const key = `${unit} ${digits}`
    let number = this.#numbers.get(key)
    if (!number) {
      const options = { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: digits }
      number = new Intl.NumberFormat(this.#language, /** @type {Intl.NumberFormatOptions} */ (options))
      this.#numbers.set(key, number)
    }
    return number
  }
}
