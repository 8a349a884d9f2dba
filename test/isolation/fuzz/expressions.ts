// Random expressions over the relations that are in reach.
import type { Expression, Expressions, Query } from './builders.ts'
import type { Random } from './random.ts'
import type { Relation, Type } from './schema.ts'

/**
 * Makes a query of one column of a type, which may name columns of the outer relations; of one row
 * where it is to stand as a value.
 */
export type SubQuery = (
  eb: Expressions,
  type: Type,
  outer: readonly Relation[],
  depth: number,
  isSingle: boolean
) => Query

export interface Reach {
  readonly random: Random
  readonly relations: readonly Relation[]
  readonly subquery: SubQuery
}

/** A column of a type; undefined where there is none in reach. */
export function column (
  { random, relations }: Pick<Reach, 'random' | 'relations'>,
  type: Type
): string | undefined {
  if (random.hostile.length > 0 && relations.length > 0 && random.chance(0.04))
    return `${random.pick(relations).alias}.${random.pick(random.hostile)}`
  const names = relations.flatMap(relation => relation[type].map(name => `${relation.alias}.${name}`))
  return names.length === 0 ? undefined : random.pick(names)
}

export function value (random: Random, type: Type): number | string {
  return type === 'int' ? random.below(8) : random.pick(['t0', 't1b', 't2', 'l1', 'l2c', 's0', 'c2', ''])
}

/** An expression of a type. */
export function scalar (eb: Expressions, reach: Reach, type: Type, depth: number): Expression {
  const { random } = reach
  const name = column(reach, type)
  const plain = (): Expression =>
    name === undefined
      ? eb.cast(eb.val(value(random, type)), type === 'int' ? 'integer' : 'text')
      : eb.ref(name)
  if (depth <= 0 || !random.chance(0.5)) return plain()
  const inner = (of: Type): Expression => scalar(eb, reach, of, depth - 1)
  if (type === 'int') {
    return random.choose<Expression>({
      plus: () => eb.parens(eb(inner('int'), '+', inner('int'))),
      times: () => eb(eb.parens(inner('int')), '*', eb.lit(random.below(3))),
      // Kysely prints two minus signs without a space between them, which is a comment.
      minus: () => eb.neg(eb.parens(inner('int'))),
      abs: () => eb.fn('abs', [inner('int')]),
      length: () => eb.fn('length', [inner('text')]),
      coalesce: () => eb.fn.coalesce(inner('int'), eb.lit(random.below(5))),
      'case when': () =>
        eb.case().when(condition(eb, reach, depth - 1)).then(inner('int')).else(inner('int')).end(),
      'scalar sub-query': () => eb.parens(reach.subquery(eb, 'int', reach.relations, depth - 1, true)),
      'literal int': () => eb.lit(random.below(9) - 4)
    })
  }
  return random.choose<Expression>({
    lower: () => eb.fn('lower', [inner('text')]),
    upper: () => eb.fn('upper', [inner('text')]),
    'concatenation ||': () => eb.parens(eb(inner('text'), '||', inner('text'))),
    'cast to text': () => eb.cast(inner('int'), 'text'),
    'coalesce text': () => eb.fn.coalesce(inner('text'), eb.cast(eb.val('none'), 'text'))
  })
}

/** A condition. */
export function condition (eb: Expressions, reach: Reach, depth: number): Expression {
  const { random } = reach
  const type: Type = random.chance(0.7) ? 'int' : 'text'
  const operand = column(reach, type) ??
    eb.cast(eb.val(value(random, type)), type === 'int' ? 'integer' : 'text')
  const simple = {
    '=': () => eb(operand, '=', value(random, type)),
    '!=': () => eb(operand, '!=', value(random, type)),
    '>': () => eb(operand, '>', value(random, type)),
    '<=': () => eb(operand, '<=', value(random, type)),
    in: () => eb(operand, 'in', [value(random, type), value(random, type)]),
    'not in': () => eb(operand, 'not in', [value(random, type)]),
    between: () => eb.between(operand, value(random, type), value(random, type)),
    'is null': () => eb(operand, 'is', null),
    'is not null': () => eb(operand, 'is not', null),
    'is distinct from': () => eb(operand, 'is distinct from', value(random, type)),
    'column = column': () => eb(operand, '=', scalar(eb, reach, type, 0)),
    'column > column': () => eb(operand, '>', scalar(eb, reach, type, 0)),
    'column = expression': () => eb(operand, '=', scalar(eb, reach, type, 2)),
    like: () => eb(scalar(eb, reach, 'text', 0), 'like', random.pick(['t%', '%1%', 'l_'])),
    'tuple in': () =>
      eb(eb.tuple(scalar(eb, reach, 'int', 0), scalar(eb, reach, 'int', 0)), 'in', [
        eb.tuple(random.below(5), random.below(5))
      ])
  }
  if (depth <= 0) return random.choose<Expression>(simple)
  const inner = (): Expression => condition(eb, reach, depth - 1)
  return random.choose<Expression>({
    ...simple,
    and: () => eb.and([inner(), inner()]),
    or: () => eb.or([inner(), inner()]),
    'bare or': () => inner().or(inner()),
    not: () => eb.not(eb.parens(inner())),
    exists: () => eb.exists(reach.subquery(eb, 'int', reach.relations, depth - 1, false)),
    'not exists': () => eb.not(eb.exists(reach.subquery(eb, 'int', reach.relations, depth - 1, false))),
    'in sub-query': () => eb(operand, 'in', reach.subquery(eb, type, reach.relations, depth - 1, false)),
    'not in sub-query': () =>
      eb(operand, 'not in', reach.subquery(eb, type, reach.relations, depth - 1, false))
  })
}
