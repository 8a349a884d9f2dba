/**
 * Codes with a separate time series. A function of the application raises errors with any code,
 * which its caller may choose.
 */
const most = 100

/** The codes of errors as values of a label. Their number is bounded. */
export class KnownCodes {
  readonly #codes = new Set<string>()

  /**
   * Returns the SQLSTATE of a database error or the code of another error. `other` for codes beyond
   * the first hundred, `unknown` without a code.
   */
  of (error: unknown): string {
    const code = codeOf(error)
    if (code === undefined) return 'unknown'
    if (this.#codes.has(code)) return code
    if (this.#codes.size >= most) return 'other'
    this.#codes.add(code)
    return code
  }
}

/** Returns the code of an error; undefined if it has none that can be a label. */
export function codeOf (error: unknown): string | undefined {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  return typeof code === 'string' && /^\w{1,64}$/.test(code) ? code : undefined
}
