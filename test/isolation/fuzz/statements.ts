// One random statement of each list of choices, with or without WITH.
import type { Creator, Query } from './builders.ts'
import { Random, type Choices } from './random.ts'
import { columns, type Relation } from './schema.ts'
import { named, root, Selects, type Place } from './selects.ts'
import { Writes } from './writes.ts'

export interface Plan {
  /** Builds the statement; the same each time, whatever builders it is given. */
  build(creator: unknown): Query
}

/**
 * The statement of these choices. `hostile` are names that now and then stand in the place of a column's.
 */
export function plan (
  choices: Choices,
  tenant: string,
  version: number,
  used: Set<string>,
  hostile: readonly string[] = []
): Plan {
  return {
    build (creator) {
      const random = new Random(choices, used, hostile)
      const selects = new Selects(random, creator as Creator)
      return statement(creator as Creator, selects, new Writes(selects, tenant, version))
    }
  }
}

function statement (creator: Creator, selects: Selects, writes: Writes): Query {
  const { random } = selects
  const [start, place] = random.chance(0.4) ? withNames(creator, selects, writes) : [creator, root]
  return random.choose<() => Query>({
    select: () => () => selects.select(start, selects.shape(), place, 2),
    'select again': () => () => selects.select(start, selects.shape(), place, 2),
    'select json': () => () => selects.json(start, place),
    'select all': () => () => start.selectFrom(selects.table(place).item).selectAll(),
    write: () => () => writes.statement(start, place),
    'write again': () => () => writes.statement(start, place)
  })()
}

type Columns = Omit<Relation, 'alias'>

function withNames (creator: Creator, selects: Selects, writes: Writes): [Creator, Place] {
  const { random } = selects
  const isRecursive = random.chance(0.3)
  const given = shuffled(random, ['notes', 'tags', 'x', 'y']).slice(0, 1 + random.below(3))
  const names = new Map<string, Columns>()
  let start = creator
  for (const [index, name] of given.entries()) {
    // In a recursive WITH a body sees its own name and the later ones, which this does not use.
    const blocked = new Set(isRecursive ? given.slice(index) : [])
    const place: Place = { names: new Map(names), blocked, outer: [] }
    const [own, body] = bodyOf(name, given, isRecursive, selects, writes, place)
    const add = isRecursive ? start.withRecursive.bind(start) : start.with.bind(start)
    start = add(random.chance(0.2) ? materialized(name) : name, body)
    names.set(name, own)
  }
  random.used.add(isRecursive ? 'with recursive' : 'with')
  return [start, { names, blocked: new Set(), outer: [] }]
}

function bodyOf (
  name: string,
  all: readonly string[],
  isRecursive: boolean,
  selects: Selects,
  writes: Writes,
  place: Place
): [Columns, (creator: Creator) => Query] {
  const { random } = selects
  return random.choose<[Columns, (creator: Creator) => Query]>({
    'select in with': () => {
      const types = selects.shape()
      return [named(types), creator => selects.select(creator, types, place, 1)]
    },
    'same name in its own body': () => {
      if (isRecursive || !(name in columns))
        return [named(['int']), creator => selects.select(creator, ['int'], place, 1)]
      return [columns[name] ?? { int: [], text: [] }, creator => creator.selectFrom(name).selectAll()]
    },
    'recursive body': () => {
      const { item, key } = selects.numbered(place)
      if (!isRecursive)
        return [{ int: ['c0'], text: [] }, creator => creator.selectFrom(item).select(`${key} as c0`)]
      return [{ int: ['c0'], text: [] }, creator =>
        creator.selectFrom(item).select(`${key} as c0`)
          .union(
            creator.selectFrom(`${name} as r`).innerJoin('items as i', 'i.qty', 'r.c0').select('i.id as c0')
          )]
    },
    'write in with': () => [{ int: ['c0'], text: [] }, creator => {
      // PostgreSQL takes the target's name for a recursive reference where it is the name of a body
      // too.
      const target = random.pick(
        ['notes', 'tags', 'items'].filter(table => !isRecursive || !all.includes(table))
      )
      return random.choose<Query>({
        'insert in with': () =>
          creator.insertInto(target).values({ id: 500 + random.below(50) }).returning('id as c0'),
        'update in with': () =>
          creator.updateTable(target).set({ id: 600 }).where('id', '=', random.below(9)).returning(
            'id as c0'
          ),
        'delete in with': () =>
          creator.deleteFrom(target).where('id', '<', random.below(5)).returning('id as c0')
      })
    }]
  })
}

function materialized (name: string): (cte: (name: string) => { materialized(): unknown }) => unknown {
  return cte => cte(name).materialized()
}

function shuffled<T> (random: Random, items: readonly T[]): T[] {
  return items.map(item => [random.next(), item] as const).toSorted(([a], [b]) => a - b).map(([, item]) =>
    item
  )
}
