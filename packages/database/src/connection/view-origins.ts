/** A column of a view that is a column of another relation. */
export interface Origin {
  /** Its number in the view. */
  readonly position: number
  /** The id of the other relation, which may be a view too. */
  readonly relation: number
  readonly column: number
}

// The end of an entry of a query's target list; what comes before it is an expression, which may hold such entries itself.
const entryEnd =
  / :resno (\d+) :resname (?:\\[\s\S]|[^\s\\])+ :ressortgroupref \d+ :resorigtbl (\d+) :resorigcol (-?\d+) :resjunk (?:true|false)$/

/**
 * Reads the columns of a view that are columns of another relation, from its stored query (`pg_rewrite.ev_action`). The server
 * notes them there for the row descriptions of the same query. It notes none for a UNION.
 */
export function readOrigins (definition: string): Origin[] {
  const origins: Origin[] = []
  let depth = 0
  let entry: number | undefined
  for (let place = 0; place < definition.length; place++) {
    const character = definition[place]
    // Names of the user's have a backslash before each brace.
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
