// Runs every kind of statement after every disturbance, by two tenants in turn on one connection.
import { assertOwn, tagged } from '@fastify-tenancy/testing'

import { isLong } from '../../support/long.ts'
import { anywhere, failedContext, onServer, type Disturb } from './disturbances.ts'
import type { Place, PlaceTenant } from './place.ts'
import { kinds, select, type StatementKind } from './statements.ts'

/** Something that is wrong with one cell of the matrix. */
export interface Problem {
  /** After which disturbance. */
  readonly moment: string
  /** Which kind of statement; undefined for what was left in the tables in the end. */
  readonly kind: string | undefined
  readonly text: string
}

const tag = /^[a-z]+:\w+$/

/**
 * What is wrong with the answer to one tenant; undefined where that is all of its own, and nothing
 * else.
 */
export async function look (
  { tenants, isRewritten }: Place,
  { name, request }: PlaceTenant,
  { run, answer, isRaw = false }: StatementKind
): Promise<string | undefined> {
  const isRefused = isRaw && isRewritten
  try {
    const rows = await run(request().db, n => tagged(name, n))
    assertOwn(rows, { tenant: name, tenants: tenants.map(each => each.name) })
    const values = rows.flatMap(row => Object.values(row)).filter(value => tag.test(String(value))).toSorted()
      .join()
    const own = answer.map(n => tagged(name, n)).toSorted().join()
    if (isRefused) return 'raw SQL was let through'
    return values === own ? undefined : `got [${values}] instead of [${own}]`
  } catch (error) {
    const { code, message } = error as Error & { code?: string }
    return isRefused && code === 'FST_TENANCY_QUERY_REFUSED' ? undefined : `${code}: ${message}`
  }
}

/**
 * Everything that is wrong with a place. Every day each statement meets a fifth of the moments, and
 * each moment a fifth of the statements.
 */
export async function problemsOf (
  place: Place,
  disturbances: Readonly<Record<string, Disturb>> = disturbancesOf(place)
): Promise<Problem[]> {
  const problems: Problem[] = []
  const atRest = (await place.values()).join()
  for (const [row, [moment, disturb]] of Object.entries(disturbances).entries()) {
    for (const [index, [kind, statement]] of Object.entries(kinds).entries()) {
      // An odd number, so that both tenants come first in turn.
      if (!isLong && (row + index) % 5 > 0) continue
      // By turns, so that each of the two comes after the other as often.
      const [a, b] = place.tenants
      const [first, second] = index % 2 === 0 ? [a, b] : [b, a]
      await disturb(place, first, statement)
      const text = await look(place, second, statement)
      if (text !== undefined) problems.push({ moment, kind, text: `${second.name}: ${text}` })
    }
    const left = (await place.values()).join()
    if (left !== atRest) problems.push({ moment, kind: undefined, text: `the tables hold [${left}]` })
  }
  return problems
}

/** What is wrong with a place after a hundred contexts that failed. */
export async function afterFailedContexts (place: Place): Promise<string[]> {
  const [a, b] = place.tenants
  for (let n = 0; n < 100; n++) await failedContext(place, n % 2 === 0 ? a : b)
  const answers = [await look(place, a, select), await look(place, b, select)]
  return answers.filter(problem => problem !== undefined)
}

function disturbancesOf (place: Place): Readonly<Record<string, Disturb>> {
  return place.adminOf(place.tenants[0]) === undefined ? anywhere : { ...anywhere, ...onServer }
}
