/** One type, as in the catalog. */
export interface TypeRow {
  readonly oid: string
  readonly isBuiltIn: boolean
  /** pg_type.typtype */
  readonly kind: string
  /** The element of an array, the subtype of a range, the columns of a composite type. */
  readonly parts: readonly string[]
  readonly isCompiled: boolean
}

/**
 * Decides which types run no user-defined code when their values are read, written, compared or
 * cast.
 */
export class Types {
  readonly #rows: ReadonlyMap<string, TypeRow>
  readonly #tainted: ReadonlySet<string>
  readonly #known = new Map<string, boolean>()

  /** @param tainted the types on which a cast or an operator class runs user-defined code */
  constructor (rows: Iterable<TypeRow>, tainted: ReadonlySet<string>) {
    this.#rows = new Map(Array.from(rows, row => [row.oid, row]))
    this.#tainted = tainted
  }

  isTainted (oid: string): boolean {
    return this.#tainted.has(oid)
  }

  /**
   * Whether a type and all of its parts run no user-defined code. A type that was not read counts
   * as harmful.
   */
  isHarmless (oid: string): boolean {
    const known = this.#known.get(oid)
    if (known !== undefined) return known
    // A set, so that each part is checked once.
    const seen = new Set([oid])
    let isHarmless = true
    for (const one of seen) {
      const row = this.#rows.get(one)
      if (row === undefined || !this.#isHarmlessAlone(row)) {
        isHarmless = false
        break
      }
      for (const part of row.parts) seen.add(part)
    }
    this.#known.set(oid, isHarmless)
    return isHarmless
  }

  #isHarmlessAlone ({ oid, kind, isBuiltIn, isCompiled }: TypeRow): boolean {
    if (this.#tainted.has(oid) || !kinds.has(kind)) return false
    return isBuiltIn ? kind !== 'c' : isCompiled
  }
}

// Base types, composites, enums, ranges and multiranges: no domain and no pseudo-type.
const kinds: ReadonlySet<string> = new Set(['b', 'c', 'e', 'r', 'm'])
