/** What a stored expression (pg_node_tree) refers to. */
export interface TreeContent {
  readonly functions: readonly number[]
  readonly operators: readonly number[]
  readonly types: readonly number[]
}

/*
 * pg_depend is no source for this: it does not record objects that are pinned, and set_config and the lock functions are.
 * So the tree itself is read, by the names that its nodes and fields have from PostgreSQL 15 to 18. A kind of node that is
 * not listed makes the expression unknown. Names that a user chose cannot pose as nodes or fields, because PostgreSQL
 * puts a backslash before each brace and blank in them.
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
// Any field that could name code is read, also one that no listed node has.
const reference = / :(\w*(?:func|fn|proc|opno|opnos|type|typeid|typeId)\w*) (?:(\d+)|\(o ([\d ]+)\))/g
/** Fields that match the pattern and hold no object. `resulttypmod` and its like are modifiers, `nulltesttype` a kind. */
const others =
  /^(?:funcretset|funcvariadic|funcformat|funccollid|nulltesttype|booltesttype|cmptype|rctype|varreturningtype|\w*typmod|\w*typeMod)$/

/** The objects that a stored expression refers to; undefined where it has nodes that are not known to be harmless. */
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
