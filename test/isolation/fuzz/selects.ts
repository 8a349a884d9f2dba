// Random SELECTs whose result does not depend on the order in which a plan meets rows.
import { jsonArrayFrom, jsonObjectFrom } from 'kysely/helpers/postgres'

import type { Creator, Expression, Expressions, Over, Query } from './builders.ts'
import { column, condition, scalar, value, type Reach } from './expressions.ts'
import type { Random } from './random.ts'
import { columns, type Relation, type Type } from './schema.ts'

type Columns = Omit<Relation, 'alias'>

/** What a query finds where it stands. */
export interface Place {
  /** The names of WITH that PostgreSQL resolves here. */
  readonly names: ReadonlyMap<string, Columns>
  /** Names that would refer to the body itself. */
  readonly blocked: ReadonlySet<string>
  readonly outer: readonly Relation[]
}

export const root: Place = { names: new Map(), blocked: new Set(), outer: [] }

type Source = Pick<Creator, 'selectFrom'>

export class Selects {
  readonly random: Random
  // What stands inside another query must not repeat its WITH.
  readonly #inside: Source
  #aliases = 0

  constructor (random: Random, inside: Source) {
    this.random = random
    this.#inside = inside
  }

  /** A condition over relations, whose sub-queries see the same names. */
  condition (eb: Expressions, relations: readonly Relation[], place: Place, depth = 2): Expression {
    return condition(eb, this.#reach(relations, place), depth)
  }

  scalar (eb: Expressions, relations: readonly Relation[], type: Type, place: Place, depth = 1): Expression {
    return scalar(eb, this.#reach(relations, place), type, depth)
  }

  column (relations: readonly Relation[], type: Type): string | undefined {
    return column({ random: this.random, relations }, type)
  }

  /** A table that has a column of whole numbers. */
  numbered (place: Place): { item: string; relation: Relation; key: string } {
    const { item, relation } = this.table(place, ({ int }) => int.length > 0)
    const key = this.column([relation], 'int')
    if (key === undefined) throw new Error(`${item} has no column of whole numbers`)
    return { item, relation, key }
  }

  shape (): Type[] {
    return Array.from(
      { length: 1 + this.random.below(3) },
      () => this.random.pick(['int', 'int', 'text'] as const)
    )
  }

  /** A table or a name of WITH, to be given to FROM, USING or a join. */
  table (
    place: Place,
    isFit: (columns: Columns) => boolean = () => true
  ): { item: string; relation: Relation } {
    const { random } = this
    const columnsOf = (name: string): Columns | undefined => place.names.get(name) ?? columns[name]
    const names = [...new Set([...place.names.keys(), 'notes', 'tags', 'items', 'countries'])].filter(name =>
      !place.blocked.has(name) && isFit(columnsOf(name) ?? { int: [], text: [] })
    )
    const name = random.pick(names)
    if (place.names.has(name)) random.used.add('name of WITH')
    if (place.names.has(name) && name in columns) random.used.add('name of WITH that hides a table')
    const alias = `a${this.#aliases++}`
    const own = columnsOf(name)
    if (own === undefined) throw new Error(`no columns of ${name}`)
    return { item: `${name} as ${alias}`, relation: { alias, ...own } }
  }

  /** A SELECT of these types, its columns named c0, c1 and so on. */
  select (source: Source, types: readonly Type[], place: Place, depth: number): Query {
    const { random } = this
    const [query, relations, isPlain] = this.#from(source, place, depth)
    return random.choose<() => Query>({
      'plain select': () => () => this.#plain(query, relations, types, place, depth, isPlain),
      'group by': () => () => this.#grouped(query, relations, types, place),
      window: () => () => this.#window(query, relations, types, place),
      'set operation': () => () =>
        depth <= 0
          ? this.#plain(query, relations, types, place, depth, isPlain)
          : this.#setOperation(query, relations, types, place, depth)
    })()
  }

  #reach (relations: readonly Relation[], place: Place): Reach {
    const reach: Reach = {
      random: this.random,
      relations: [...relations, ...place.outer],
      subquery: (eb, type, outer, depth, isSingle) =>
        this.#inner(eb, type, { ...place, outer }, depth, isSingle)
    }
    return reach
  }

  // One column, and one row where it stands as a value: min() needs no LIMIT.
  #inner (source: Source, type: Type, place: Place, depth: number, isSingle = true): Query {
    const { item, relation } = this.table(place)
    const relations = [relation]
    let query = source.selectFrom(item)
    if (this.random.chance(0.7))
      query = query.where((eb: Expressions) => this.condition(eb, relations, place, depth))
    const name = column({ random: this.random, relations }, type)
    const one = (eb: Expressions): Expression =>
      name === undefined
        ? eb.cast(eb.val(value(this.random, type)), type === 'int' ? 'integer' : 'text')
        : eb.ref(name)
    return query.select((eb: Expressions) => [(isSingle ? eb.fn.min(one(eb)) : one(eb)).as('c0')])
  }

  #from (source: Source, place: Place, depth: number): [Query, Relation[], boolean] {
    const { random } = this
    const first = this.#item(place, depth)
    const relations = [first.relation]
    let isPlain = true
    let items: unknown[] = [first.make()]
    if (random.chance(0.15)) {
      random.used.add('comma in FROM')
      const second = this.#item(place, depth)
      relations.push(second.relation)
      items = [...items, second.make()]
    }
    let query = source.selectFrom(items)
    for (let joins = random.below(depth > 0 ? 4 : 2); joins > 0; joins--) {
      const [joined, isOuter] = this.#join(query, relations, items.length, place, depth)
      query = joined
      if (isOuter) isPlain = false
    }
    return [query, relations, isPlain]
  }

  #item (place: Place, depth: number): { relation: Relation; make: () => unknown } {
    if (depth > 0 && this.random.chance(0.2)) {
      this.random.used.add('sub-query in FROM')
      const alias = `s${this.#aliases++}`
      const types = this.shape()
      return {
        relation: { alias, ...named(types) },
        make: () => this.select(this.#inside, types, { ...place, outer: [] }, depth - 1).as(alias)
      }
    }
    if (this.random.chance(0.12)) return this.#call()
    const { item, relation } = this.table(place)
    return { relation, make: () => item }
  }

  // A function in FROM: its value is named like the item, or as the function says.
  #call (): { relation: Relation; make: () => unknown } {
    const alias = `f${this.#aliases++}`
    const [columnsOf, call] = this.random.choose<[Columns, (eb: Expressions) => Expression]>({
      'generate_series in FROM': () => [{ int: [alias], text: [] }, eb =>
        eb.fn('generate_series', [eb.lit(1), eb.lit(3)])],
      'string_to_table in FROM': () => [{ int: [], text: [alias] }, eb =>
        eb.fn('string_to_table', [eb.cast(eb.val('t0,t1b'), 'text'), eb.cast(eb.val(','), 'text')])],
      'unnest in FROM': () => [{ int: [], text: [alias] }, eb =>
        eb.fn('unnest', [
          eb.fn('string_to_array', [eb.cast(eb.val('l1,l2c'), 'text'), eb.cast(eb.val(','), 'text')])
        ])],
      'elements of JSON in FROM': () => [{ int: [], text: ['value'] }, eb =>
        eb.fn('jsonb_array_elements_text', [eb.cast(eb.val('["t0", "s1"]'), 'jsonb')])],
      'pairs of JSON in FROM': () => [{ int: [], text: ['key', 'value'] }, eb =>
        eb.fn('jsonb_each_text', [eb.cast(eb.val('{"t0": "l1"}'), 'jsonb')])]
    })
    return { relation: { alias, ...columnsOf }, make: () => (eb: Expressions) => call(eb).as(alias) }
  }

  // Only the chain of the last item of FROM is in reach of an ON.
  #join (query: Query, relations: Relation[], items: number, place: Place, depth: number): [Query, boolean] {
    const { random } = this
    const reachable = relations.slice(items - 1)
    const { item, relation } = this.table(place)
    const after = [...reachable, relation]
    relations.push(relation)
    const on = (join: Query, isEquality: boolean): Query => {
      const left = column({ random, relations: reachable }, 'int')
      const right = column({ random, relations: [relation] }, 'int')
      const start = left === undefined || right === undefined
        ? join.on((eb: Expressions) =>
          eb(
            eb.cast(eb.ref(this.#any(reachable)), 'text'),
            '=',
            eb.cast(eb.ref(this.#any([relation])), 'text')
          )
        )
        : join.onRef(left, '=', right)
      return isEquality || random.chance(0.5)
        ? start
        : start.on((eb: Expressions) => this.condition(eb, after, place, Math.min(depth, 1)))
    }
    const lateral = (): unknown => {
      const alias = `l${this.#aliases++}`
      relations[relations.length - 1] = { alias, int: ['c0'], text: [] }
      return (eb: Expressions) => this.#inner(eb, 'int', { ...place, outer: reachable }, 1).as(alias)
    }
    return random.choose<[Query, boolean]>({
      'inner join': () => [query.innerJoin(item, (join: Query) => on(join, false)), false],
      'inner join on true': () => [query.innerJoin(item, (join: Query) => join.onTrue()), false],
      'left join': () => [query.leftJoin(item, (join: Query) => on(join, false)), true],
      'right join': () => [query.rightJoin(item, (join: Query) => on(join, false)), true],
      'full join': () => [query.fullJoin(item, (join: Query) => on(join, true)), true],
      'cross join': () => [query.crossJoin(item), false],
      'inner join lateral': () => [query.innerJoinLateral(lateral(), (join: Query) => join.onTrue()), false],
      'left join lateral': () => [query.leftJoinLateral(lateral(), (join: Query) => join.onTrue()), true],
      'cross join lateral': () => [query.crossJoinLateral(lateral()), false]
    })
  }

  #any (relations: readonly Relation[]): string {
    const names = [column({ random: this.random, relations }, 'int'),
      column({ random: this.random, relations }, 'text')]
    return this.random.pick(names.filter(name => name !== undefined))
  }

  #where (query: Query, relations: readonly Relation[], place: Place, depth: number): Query {
    let filtered = query
    for (let times = this.random.below(3); times > 0; times--)
      filtered = filtered.where((eb: Expressions) => this.condition(eb, relations, place, depth))
    return filtered
  }

  #plain (
    from: Query,
    relations: readonly Relation[],
    types: readonly Type[],
    place: Place,
    depth: number,
    isPlain: boolean
  ): Query {
    const { random } = this
    const query = this.#where(from, relations, place, depth)
      .select((eb: Expressions) =>
        types.map((type, index) => this.scalar(eb, relations, type, place, depth).as(`c${index}`))
      )
    const ordered = (): Query =>
      types.reduce((built, _, index) => built.orderBy(`c${index}`, random.pick(['asc', 'desc'])), query)
    const tables = relations.filter(({ text }) =>
      text.includes('title') || text.includes('label') || text.includes('sku')
    ).map(({ alias }) => alias)
    return random.choose<Query>({
      all: () => query,
      distinct: () => query.distinct(),
      'distinct on': () => {
        const key = this.#any(relations)
        return types.reduce(
          (built, _, index) => built.orderBy(`c${index}`),
          query.distinctOn(key).orderBy(key)
        )
      },
      limit: () => ordered().limit(1 + random.below(5)),
      'limit and offset': () => ordered().limit(3).offset(random.below(3)),
      fetch: () => ordered().fetch(2),
      'order by nulls': () =>
        query.orderBy('c0', (ob: { desc(): { nullsLast(): unknown } }) => ob.desc().nullsLast()),
      lock: () =>
        isPlain && place.outer.length === 0 && place.names.size === 0 && tables.length > 0 &&
          tables.length === relations.length
          ? random.choose<Query>({
            'for update': () => query.forUpdate(),
            'for update of': () => query.forUpdate(tables.slice(0, 1)),
            'for share skip locked': () => query.forShare().skipLocked(),
            'for no key update nowait': () => query.forNoKeyUpdate().noWait()
          })
          : query
    })
  }

  #grouped (from: Query, relations: readonly Relation[], types: readonly Type[], place: Place): Query {
    const { random } = this
    const key = this.#any(relations)
    const query = this.#where(from, relations, place, 1).select((eb: Expressions) =>
      types.map((type, index) => this.#aggregate(eb, relations, type, place).as(`c${index}`))
    )
    return random.choose<Query>({
      'aggregate of all': () => query,
      'group by column': () => query.groupBy(key),
      having: () => query.groupBy(key).having((eb: Expressions) => eb(eb.fn.countAll(), '>', random.below(3)))
    })
  }

  #aggregate (eb: Expressions, relations: readonly Relation[], type: Type, place: Place): Expression {
    const { random } = this
    const of = (wanted: Type): Expression => this.scalar(eb, relations, wanted, place, 0)
    if (type === 'int') {
      return random.choose<Expression>({
        'count(*)': () => eb.fn.countAll(),
        count: () => eb.fn.count(of('int')),
        'count distinct': () => eb.fn.count(of('text')).distinct(),
        sum: () => eb.fn.sum(of('int')),
        'filter where': () => eb.fn.countAll().filterWhere(() => this.condition(eb, relations, place, 0)),
        'json_agg length': () => eb.fn('json_array_length', [eb.fn.agg('json_agg', [of('int')])])
      })
    }
    return random.choose<Expression>({
      'max text': () => eb.fn.max(of('text')),
      'string_agg in order': () => {
        const text = column({ random, relations }, 'text')
        return text === undefined
          ? eb.fn.max(of('text'))
          : eb.fn.agg('string_agg', [text, eb.cast(eb.val(','), 'text')]).orderBy(text)
      }
    })
  }

  #window (from: Query, relations: readonly Relation[], types: readonly Type[], place: Place): Query {
    const { random } = this
    const by = this.#any(relations)
    const order = column({ random, relations }, 'text') ?? by
    return this.#where(from, relations, place, 1).select((eb: Expressions) =>
      types.map((type, index) => {
        if (type === 'text') return this.scalar(eb, relations, type, place, 0).as(`c${index}`)
        return random.choose<Expression>({
          'rank over': () => eb.fn.agg('rank', []).over((over: Over) => over.partitionBy(by).orderBy(order)),
          'dense_rank over': () =>
            eb.fn.agg('dense_rank', []).over((over: Over) => over.orderBy(order, 'desc')),
          'count over': () => eb.fn.countAll().over(),
          'sum over': () =>
            eb.fn.sum(this.scalar(eb, relations, 'int', place, 0)).over((over: Over) => over.partitionBy(by))
        }).as(`c${index}`)
      })
    )
  }

  #setOperation (
    from: Query,
    relations: readonly Relation[],
    types: readonly Type[],
    place: Place,
    depth: number
  ): Query {
    const { random } = this
    const branch = (query: Query, over: readonly Relation[]): Query =>
      this.#where(query, over, place, 1)
        .select((eb: Expressions) =>
          types.map((type, index) => this.scalar(eb, over, type, place, 0).as(`c${index}`))
        )
    const other = (): Query => {
      const [query, others] = this.#from(this.#inside, place, depth - 1)
      return branch(query, others)
    }
    const left = branch(from, relations)
    const result = random.choose<Query>({
      union: () => left.union(other()),
      'union all': () => left.unionAll(other()),
      intersect: () => left.intersect(other()),
      except: () => left.except(other()),
      'union of three': () => left.union(other()).unionAll(other()),
      'nested set operation': () => left.union(other().except(other()))
    })
    return random.chance(0.3)
      ? types.reduce((built, _, index) => built.orderBy(`c${index}`), result).limit(4)
      : result
  }

  /** Correlated rows as JSON, through Kysely's helpers. */
  json (source: Source, place: Place): Query {
    const { item, relation } = this.table(place)
    const name = this.#any([relation])
    return source.selectFrom(item).select((eb: Expressions) => {
      const rows = this.#inner(eb, 'int', { ...place, outer: [relation] }, 1)
      this.random.used.add('jsonArrayFrom').add('jsonObjectFrom')
      const helper = this.random.chance(0.5) ? jsonArrayFrom : jsonObjectFrom
      return [eb.ref(name).as('c0'), (helper as unknown as (query: Query) => Expression)(rows).as('c1')]
    })
  }
}

/** The columns of a query of these types. */
export function named (types: readonly Type[]): Columns {
  const of = (wanted: Type): string[] => types.flatMap((type, index) => type === wanted ? [`c${index}`] : [])
  return { int: of('int'), text: of('text') }
}
