import { defaultFunctions } from '../rewrite/functions.ts'

/*
 * Functions of rewrite/functions.ts whose result depends on the session. The function `random()`
 * continues from the state that the last owner left, so that owner could predict its next numbers.
 */
const ofSession: ReadonlySet<string> = new Set(['random'])

/** Constructs of the grammar that look like calls. PostgreSQL looks up no function for them. */
const constructs: ReadonlySet<string> = new Set(['coalesce', 'nullif', 'greatest', 'least', 'any', 'all',
  'some', 'grouping', 'merge_action'])

/**
 * Functions of pg_catalog that neither change nor read their session. Tests check each of them
 * against the catalog.
 */
export const harmlessFunctions: ReadonlySet<string> = new Set(
  defaultFunctions.filter(name => !ofSession.has(name))
)

/**
 * The function names to look up in the catalog. A user-defined function of such a name could be
 * called instead.
 */
export const lookedUpFunctions: readonly string[] = [...harmlessFunctions].filter(name =>
  !constructs.has(name)
)

/**
 * The operators that each operator of a query stands for. `[]` means that PostgreSQL looks up none.
 * NULLIF, CASE with a value, IN and BETWEEN look their operators up by name, as if written out.
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

/** Every operator that {@link operatorsOf} can return. */
export const lookedUpOperators: readonly string[] = [...new Set([...operatorsOf.values()].flat())]

/*
 * Further functions that a stored expression may call. The query adds those behind built-in
 * operators and casts. `nextval` changes lastval(), which no harmless statement can call.
 * `current_setting` shows what the context set, because a clean connection has no other settings.
 */
export const storedFunctions: readonly string[] = [...lookedUpFunctions, 'nextval', 'like', 'notlike',
  'similar_to_escape', 'similar_escape', 'like_escape', 'extract', 'is_normalized', 'jsonb_path_exists_opr',
  'to_regclass', 'current_setting', 'current_database', 'txid_current', 'pg_current_xact_id']

/**
 * Extensions in C whose functions a stored expression may call. Each extension was reviewed for
 * functions that keep state in the session.
 */
export const storedLibraries: readonly string[] = ['uuid-ossp', 'pgcrypto', 'citext', 'hstore', 'ltree',
  '_int', 'unaccent', 'btree_gin', 'btree_gist', 'cube', 'fuzzystrmatch', 'vector']

/**
 * The result columns of set-returning functions whose columns are not named like the item's alias.
 */
export const columnsOfFunction: ReadonlyMap<string, readonly string[]> = new Map([
  ...['json_array_elements', 'jsonb_array_elements', 'json_array_elements_text', 'jsonb_array_elements_text']
    .map((name): [string, string[]] => [name, ['value']]),
  ...['json_each', 'jsonb_each', 'json_each_text', 'jsonb_each_text'].map((
    name
  ): [string, string[]] => [name, ['key', 'value']])
])
