// Random statements that write. What becomes of the tables does not depend on the order in which a
// plan meets rows.
import type { Creator, Expressions, Query } from './builders.ts'
import { value } from './expressions.ts'
import { columns, tenantColumns, type Relation, type Type } from './schema.ts'
import type { Place, Selects } from './selects.ts'

interface Target extends Relation {
  readonly table: string
}

export class Writes {
  readonly #selects: Selects
  readonly #tenant: string
  readonly #version: number

  /** @param version of the server, such as 15. */
  constructor (selects: Selects, tenant: string, version: number) {
    this.#selects = selects
    this.#tenant = tenant
    this.#version = version
  }

  statement (creator: Creator, place: Place): Query {
    return this.#selects.random.choose<Query>({
      insert: () => this.insert(creator, place),
      update: () => this.update(creator, place),
      delete: () => this.remove(creator, place),
      merge: () => this.#merge(creator, place)
    })
  }

  insert (creator: Creator, place: Place): Query {
    const { random } = this.#selects
    const { table } = this.#target(table => table)
    const query = creator.insertInto(table)
    const filled = random.choose<Query>({
      'insert one': () => query.values(this.#row(table)),
      'insert with own tenant': () =>
        query.values({ ...this.#row(table), [tenantColumns[table] ?? '']: this.#tenant }),
      'insert many': () =>
        query.values([this.#row(table), this.#row(table), { id: 200 + random.below(100) }]),
      'insert default values': () => query.defaultValues(),
      'insert with a sub-query': () =>
        query.values((eb: Expressions) => ({
          id: 300,
          ...this.#text(table, this.#selects.scalar(eb, [], 'text', place))
        })),
      'insert from select': () => this.#insertSelect(query, table, place)
    })
    const handled = random.choose<Query>({
      'no conflict clause': () => filled,
      'on conflict do nothing': () => filled.onConflict((oc: Query) => oc.doNothing()),
      'on conflict do update': () =>
        filled.onConflict((oc: Query) =>
          oc.columns([tenantColumns[table], 'id']).doUpdateSet(this.#text(table, 'changed'))
        ),
      'on conflict do update where': () =>
        filled.onConflict((oc: Query) =>
          oc.columns([tenantColumns[table], 'id'])
            .doUpdateSet((eb: Expressions) =>
              this.#text(table, eb.ref(`excluded.${columns[table]?.text[0]}`))
            )
            .where((eb: Expressions) =>
              eb.or([eb(`${table}.id`, '>', random.below(6)), eb(`${table}.id`, '=', 1)])
            )
        )
    })
    return this.#returning(handled, [{ alias: table, ...this.#columns(table) }], place)
  }

  update (creator: Creator, place: Place): Query {
    const { random } = this.#selects
    const target = this.#target()
    const query = creator.updateTable(
      target.table === target.alias ? target.table : `${target.table} as ${target.alias}`
    )
    const [assigned, relations] = random.choose<[Query, Relation[]]>({
      'set value': () => [query.set(this.#text(target.table, 'new')), [target]],
      'set expression': () => [query.set((eb: Expressions) =>
        this.#text(target.table, this.#selects.scalar(eb, [target], 'text', place))
      ), [target]],
      'set own tenant': () => [
        query.set({
          ...this.#text(target.table, 'own'),
          [tenantColumns[target.table] ?? '']: this.#tenant
        }),
        [target]
      ],
      'update from': () => {
        const { item, relation } = this.#selects.table(place)
        return [query.set(this.#text(target.table, 'from')).from(item), [target, relation]]
      },
      'update from join': () => {
        const [first, second] = [this.#selects.numbered(place), this.#selects.numbered(place)]
        const joined = query.set(this.#text(target.table, 'join')).from(first.item)
        const on = (join: Query): Query =>
          join.onRef(first.key, '=', second.key)
        const both = random.choose<Query>({
          'from inner join': () =>
            joined.innerJoin(second.item, on),
          'from left join': () =>
            joined.leftJoin(second.item, on),
          'from right join': () =>
            joined.rightJoin(second.item, on),
          'from full join': () => joined.fullJoin(second.item, on)
        })
        return [both, [target, first.relation, second.relation]]
      }
    })
    return this.#returning(this.#where(assigned, relations, place), [target], place)
  }

  remove (creator: Creator, place: Place): Query {
    const { random } = this.#selects
    const target = this.#target()
    const query = creator.deleteFrom(
      target.table === target.alias ? target.table : `${target.table} as ${target.alias}`
    )
    const [from, relations] = random.choose<[Query, Relation[]]>({
      'delete from': () => [query, [target]],
      'delete using': () => {
        const { item, relation } = this.#selects.table(place)
        return [query.using(item), [target, relation]]
      },
      'delete using join': () => {
        const [first, second] = [this.#selects.numbered(place), this.#selects.numbered(place)]
        const using = query.using(first.item)
        return [
          random.chance(0.5)
            ? using.leftJoin(second.item, first.key, second.key)
            : using.rightJoin(second.item, first.key, second.key),
          [target, first.relation, second.relation]
        ]
      }
    })
    return this.#returning(this.#where(from, relations, place), [target], place)
  }

  #merge (creator: Creator, place: Place): Query {
    const { random } = this.#selects
    const target = this.#target()
    const { key, ...source } = this.#selects.numbered(place)
    let query = creator.mergeInto(`${target.table} as ${target.alias}`).using(source.item, (join: Query) => {
      const on = join.onRef(key, '=', `${target.alias}.id`)
      return random.chance(0.3)
        ? on.on((eb: Expressions) => this.#selects.condition(eb, [target, source.relation], place, 1))
        : on
    })
    const text = this.#text(target.table, 'merged')
    query = random.choose<Query>({
      'when matched update': () => query.whenMatched().thenUpdateSet(text),
      'when matched delete': () => query.whenMatched().thenDelete(),
      'when matched and': () =>
        query.whenMatchedAnd((eb: Expressions) =>
          this.#selects.condition(eb, [target, source.relation], place, 1)
        ).thenUpdateSet(text),
      'when matched do nothing': () => query.whenMatched().thenDoNothing()
    })
    if (random.chance(0.5)) {
      random.used.add('when not matched')
      query = random.chance(0.5)
        ? query.whenNotMatched().thenInsertValues((eb: Expressions) => ({
          id: eb(eb.ref(key), '+', eb.lit(400)),
          ...text
        }))
        : query.whenNotMatchedAnd((eb: Expressions) =>
          this.#selects.condition(eb, [source.relation], place, 0)
        ).thenInsertValues({ id: 450, ...text })
    }
    if (this.#version >= 17 && random.chance(0.4)) {
      random.used.add('when not matched by source')
      query = random.chance(0.5)
        ? query.whenNotMatchedBySource().thenUpdateSet(this.#text(target.table, 'unmatched'))
        : query.whenNotMatchedBySourceAnd((eb: Expressions) =>
          this.#selects.condition(eb, [target], place, 0)
        ).thenDelete()
    }
    return this.#version >= 17 && random.chance(0.3) ? query.returning(`${target.alias}.id as c0`) : query
  }

  #insertSelect (query: Query, table: string, place: Place): Query {
    const { random } = this.#selects
    return query.columns(['id']).expression((eb: Expressions) =>
      random.choose<Query>({
        'from table': () => {
          const { item, key } = this.#selects.numbered(place)
          return eb.selectFrom(item).select((
            inner: Expressions
          ) => [inner(inner.ref(key), '+', inner.lit(random.below(500))).as('id')])
        },
        'from any query': () => this.#selects.select(eb, ['int'], place, 1)
      })
    )
  }

  #where (query: Query, relations: readonly Relation[], place: Place): Query {
    let filtered = query
    for (let times = this.#selects.random.below(3); times > 0; times--)
      filtered = filtered.where((eb: Expressions) => this.#selects.condition(eb, relations, place))
    return filtered
  }

  #returning (query: Query, relations: readonly Relation[], place: Place): Query {
    const { random } = this.#selects
    return random.choose<Query>({
      'no returning': () => query,
      'returning columns': () => query.returning(relations.flatMap(({ alias }) => [`${alias}.id as c0`])),
      'returning expression': () =>
        query.returning((eb: Expressions) => [this.#selects.scalar(eb, relations, 'int', place, 2).as('c0')])
    })
  }

  #target (
    alias: (table: string) => string = table => this.#selects.random.chance(0.5) ? table : 'target'
  ): Target {
    const table = this.#selects.random.pick(Object.keys(tenantColumns))
    return { table, alias: alias(table), ...this.#columns(table) }
  }

  #columns (table: string): Omit<Relation, 'alias'> {
    return columns[table] ?? { int: [], text: [] }
  }

  #row (table: string): Record<string, unknown> {
    const { random } = this.#selects
    const rest: readonly (readonly [string, Type])[] = [
      ...this.#columns(table).int.slice(1).map(name => [name, 'int'] as const),
      ...this.#columns(table).text.map(name => [name, 'text'] as const)
    ]
    return Object.fromEntries([['id', random.below(2) === 0 ? random.below(12) : 100 + random.below(50)],
      ...rest.filter(() => random.chance(0.7)).map(([name, type]) => [name, value(random, type)])])
  }

  #text (table: string, given: unknown): Record<string, unknown> {
    return { [this.#columns(table).text[0] ?? '']: given }
  }
}
