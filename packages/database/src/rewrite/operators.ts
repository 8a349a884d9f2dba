import type { Operator, OperatorNode } from 'kysely'

import { operatorNode } from './nodes.ts'

/** Binary operators of PostgreSQL, and those of pgvector that Kysely can write. */
export const binaryOperators: ReadonlyMap<unknown, OperatorNode> = nodes([
  '=',
  '!=',
  '<>',
  '<',
  '<=',
  '>',
  '>=',
  'in',
  'not in',
  'is',
  'is not',
  'is distinct from',
  'is not distinct from',
  'like',
  'not like',
  'ilike',
  'not ilike',
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
  'between',
  'between symmetric'
])

/** Unary operators. */
export const unaryOperators: ReadonlyMap<unknown, OperatorNode> = nodes(['not', '-', '!!', 'exists',
  'not exists'])

function nodes (operators: readonly Operator[]): ReadonlyMap<unknown, OperatorNode> {
  return new Map(operators.map(operator => [operator, Object.freeze(operatorNode(operator))]))
}

// Excluded are types that look up an object by name: regclass, regrole and the other reg types.
const dataTypes: ReadonlySet<string> = new Set([
  'bigint',
  'boolean',
  'bytea',
  'char',
  'date',
  'datemultirange',
  'daterange',
  'decimal',
  'double precision',
  'float4',
  'float8',
  'int2',
  'int4',
  'int4multirange',
  'int4range',
  'int8',
  'int8multirange',
  'int8range',
  'integer',
  'json',
  'jsonb',
  'numeric',
  'nummultirange',
  'numrange',
  'real',
  'smallint',
  'text',
  'time',
  'timestamp',
  'timestamptz',
  'timetz',
  'tsmultirange',
  'tsrange',
  'tstzmultirange',
  'tstzrange',
  'uuid',
  'varchar'
])

/** Whether this is the plain name of a PostgreSQL type, with its length if it has one. */
export function isDataType (name: unknown): boolean {
  return typeof name === 'string' &&
    (dataTypes.has(name) ||
      /^(?:varchar|char|time|timetz|timestamp|timestamptz)\(\d{1,8}\)$/.test(name) ||
      /^(?:decimal|numeric)\(\d{1,4}, \d{1,4}\)$/.test(name))
}
