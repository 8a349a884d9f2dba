/** The objects that a stored expression (pg_node_tree) references. */
export interface TreeContent {
  readonly functions: readonly number[]
  readonly operators: readonly number[]
  readonly types: readonly number[]
}

/*
 * pg_depend does not help, because it omits pinned objects such as set_config and the lock
 * functions. So the tree is parsed, with the node and field names of PostgreSQL 15 to 18. An
 * unlisted node makes the expression unknown. A user-defined name cannot look like a node or field,
 * because PostgreSQL escapes each brace and blank in it.
 */
const nodes: ReadonlySet<string> = new Set([
  'OPEXPR',
  'FUNCEXPR',
  'CONST',
  'SQLVALUEFUNCTION',
  'VAR',
  'ARRAYEXPR',
  'BOOLEXPR',
  'SCALARARRAYOPEXPR',
  'RELABELTYPE',
  'ARRAYCOERCEEXPR',
  'CASETESTEXPR',
  'NULLTEST',
  'BOOLEANTEST',
  'CASEEXPR',
  'CASEWHEN',
  'DISTINCTEXPR',
  'COALESCEEXPR',
  'MINMAXEXPR',
  'NULLIFEXPR',
  'COERCEVIAIO',
  'ROWEXPR',
  'ROWCOMPAREEXPR',
  'SUBSCRIPTINGREF',
  'COLLATEEXPR',
  'FIELDSELECT',
  'NAMEDARGEXPR'
])

const node = /\{([A-Z0-9_]+)/g
// Matches any field that could name code, even a field of no listed node.
const reference = / :(\w*(?:func|fn|proc|opno|opnos|type|typeid|typeId)\w*) (?:(\d+)|\(o ([\d ]+)\))/g
/**
 * Fields that match the pattern but hold no object: `…typmod` is a modifier, `nulltesttype` a kind.
 */
const others = new RegExp(
  '^(?:funcretset|funcvariadic|funcformat|funccollid|nulltesttype|booltesttype|cmptype|rctype' +
    '|varreturningtype|\\w*typmod|\\w*typeMod)$'
)

/**
 * Returns the objects that a stored expression references; undefined if it contains an unlisted
 * node.
 */
export function readTree (text: string): TreeContent | undefined {
  for (const [, kind] of text.matchAll(node)) if (!nodes.has(kind ?? '')) return undefined
  const functions: number[] = []
  const operators: number[] = []
  const types: number[] = []
  for (const [, field = '', one, list] of text.matchAll(reference)) {
    if (others.test(field)) continue
    const target = /opno/.test(field) ? operators : /type/i.test(field) ? types : functions
    target.push(...(list ?? one ?? '').split(' ').map(Number).filter(oid => oid > 0))
  }
  return { functions, operators, types }
}
