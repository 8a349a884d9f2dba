/** Maximum heap bytes of a parsed value per byte of its text. A larger value stays text. */
export const growth = 3

const deepest = 32

/**
 * The JSON of a copy in this process. It is parsed once, at its second use, and copied for every
 * reader, which takes a tenth of the time of parsing. No reader gets the parsed value itself, so a
 * request that changes its copy does not affect others.
 */
export class ParsedJson {
  readonly #text: string
  #value: unknown
  #uses = 0

  constructor (text: string) {
    this.#text = text
  }

  /** Returns a value that belongs to the caller. */
  read (): unknown {
    if (this.#value !== undefined) return copyOf(this.#value)
    const value: unknown = JSON.parse(this.#text)
    if (++this.#uses === 2 && heapBytes(value, 0) <= growth * this.#text.length + 64) {
      this.#value = value
      return copyOf(value)
    }
    return value
  }
}

// Copies a result of JSON.parse(), which has no cycles, foreign prototypes or getters. A spread
// keeps a key named __proto__ as a key, and assigning to an existing key calls no setter. Lists are
// copied separately, because `for in` over a list is slow.
function copyOf (value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value
  return Array.isArray(value) ? copyList(value) : copyObject(value as Record<string, unknown>)
}

function copyList (list: readonly unknown[]): unknown[] {
  const copy = list.slice()
  for (let at = 0; at < copy.length; at++) {
    const part = copy[at]
    if (typeof part === 'object' && part !== null) copy[at] = copyOf(part)
  }
  return copy
}

function copyObject (object: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const copy = { ...object }
  for (const key in copy) {
    const part = copy[key]
    if (typeof part === 'object' && part !== null) copy[key] = copyOf(part)
  }
  return copy
}

function heapBytes (value: unknown, depth: number): number {
  if (typeof value === 'string') return 24 + value.length * 2
  if (typeof value !== 'object' || value === null) return 8
  if (depth === deepest) return Infinity
  let bytes = 56
  for (const key in value) bytes += 8 + heapBytes((value as Record<string, unknown>)[key], depth + 1)
  return bytes
}
