/** A column of a view that comes from a column of another relation. */
export interface Origin {
  /** The column's number in the view. */
  readonly position: number
  /** The id of the other relation, which may be a view. */
  readonly relation: number
  readonly column: number
}

// The end of an entry of a query's target list. The expression before it may contain such entries.
const entryEnd = new RegExp(
  / :resno (\d+) :resname (?:\\[\s\S]|[^\s\\])+ :ressortgroupref \d+/.source +
    / :resorigtbl (\d+) :resorigcol (-?\d+) :resjunk (?:true|false)$/.source
)

/**
 * Returns the view's columns that come from columns of another relation, read from its stored query
 * (`pg_rewrite.ev_action`). PostgreSQL stores these origins for RowDescription; it stores none for
 * a UNION.
 */
export function readOrigins (definition: string): Origin[] {
  const origins: Origin[] = []
  let depth = 0
  let entry: number | undefined
  for (let place = 0; place < definition.length; place++) {
    const character = definition[place]
    // In user-defined names a backslash precedes each brace.
    if (character === '\\') place++
    else if (character === '{') {
      depth++
      if (depth === 2 && definition.startsWith('TARGETENTRY', place + 1)) entry = place
    } else if (character === '}') {
      if (depth === 2 && entry !== undefined) {
        const found = entryEnd.exec(definition.slice(entry, place))
        const [position, relation, column] = found?.slice(1).map(Number) ?? []
        if (position !== undefined && relation && column) origins.push({ position, relation, column })
        entry = undefined
      }
      depth--
    }
  }
  return origins
}
