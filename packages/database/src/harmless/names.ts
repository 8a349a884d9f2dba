import { defaultFunctions } from '../rewrite/functions.ts'

/*
 * Functions of row/functions.ts whose result depends on the session. The generator behind random() goes on from the state
 * that the last borrower left, so that its next numbers can be predicted.
 */
const ofSession: ReadonlySet<string> = new Set(['random'])

/** Constructs of the grammar that are written like calls. No function is looked up for them. */
const constructs: ReadonlySet<string> = new Set(['coalesce', 'nullif', 'greatest', 'least', 'any', 'all',
  'some', 'grouping', 'merge_action'])

/** Functions of pg_catalog that neither change nor read their session. Tests hold each of them against the catalog. */
export const harmlessFunctions: ReadonlySet<string> = new Set(
  defaultFunctions.filter(name => !ofSession.has(name))
)

/** The functions that a call by one of these names is looked up as. A user's function of the name could be the one that runs. */
export const lookedUpFunctions: readonly string[] = [...harmlessFunctions].filter(name =>
  !constructs.has(name)
)

/**
 * The operators that each operator of a query stands for. `[]`: no operator is looked up.
 * NULLIF, CASE with a value, IN and BETWEEN look theirs up by name, as if they were written out.
 */
export const operatorsOf: ReadonlyMap<unknown, readonly string[]> = new Map<unknown, readonly string[]>([
  ['!=', ['<>']],
  ['in', ['=']],
  ['not in', ['<>']],
  ['is distinct from', ['=']],
  ['is not distinct from', ['=']],
  ['like', ['~~']],
  ['not like', ['!~~']],
  ['ilike', ['~~*']],
  ['not ilike', ['!~~*']],
  ['between', ['>=', '<=']],
  ['between symmetric', ['>=', '<=']],
  ['is', []],
  ['is not', []],
  ['not', []],
  ['exists', []],
  ['not exists', []],
  ...[
    '=',
    '<>',
    '<',
    '<=',
    '>',
    '>=',
    '~',
    '~*',
    '!~',
    '!~*',
    '^@',
    '@>',
    '<@',
    '&&',
    '?',
    '?&',
    '?|',
    '@@',
    '@@@',
    '<->',
    '<=>',
    '+',
    '-',
    '*',
    '/',
    '%',
    '^',
    '&',
    '|',
    '#',
    '<<',
    '>>',
    '||',
    '->',
    '->>',
    '!!'
  ].map((name): [string, string[]] => [name, [name]])
])

/** Every operator that {@link operatorsOf} can name. */
export const lookedUpOperators: readonly string[] = [...new Set([...operatorsOf.values()].flat())]

/*
 * Functions that a stored expression may call besides: those behind the server's own operators and casts are added by
 * the query. nextval changes what lastval() answers, which no harmless statement can ask. current_setting() shows what the
 * context set, because a clean predecessor set nothing.
 */
export const storedFunctions: readonly string[] = [...lookedUpFunctions, 'nextval', 'like', 'notlike',
  'similar_to_escape', 'similar_escape', 'like_escape', 'extract', 'is_normalized', 'jsonb_path_exists_opr',
  'to_regclass', 'current_setting', 'current_database', 'txid_current', 'pg_current_xact_id']

/** Extensions in C whose functions a stored expression may call. Each was read for functions that keep state in the session. */
export const storedLibraries: readonly string[] = ['uuid-ossp', 'pgcrypto', 'citext', 'hstore', 'ltree',
  '_int', 'unaccent', 'btree_gin', 'btree_gist', 'cube', 'fuzzystrmatch', 'vector']

/** The columns of functions that return rows, where they are not named like the item's alias. */
export const columnsOfFunction: ReadonlyMap<string, readonly string[]> = new Map([
  ...['json_array_elements', 'jsonb_array_elements', 'json_array_elements_text', 'jsonb_array_elements_text']
    .map((name): [string, string[]] => [name, ['value']]),
  ...['json_each', 'jsonb_each', 'json_each_text', 'jsonb_each_text'].map((
    name
  ): [string, string[]] => [name, ['key', 'value']])
])
