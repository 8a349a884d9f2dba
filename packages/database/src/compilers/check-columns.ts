import type { CompiledQuery } from 'kysely'

import type { Judge } from '../harmless/judge.ts'
import type { JudgedQuery } from '../harmless/judged-query.ts'
import { read } from '../harmless/read-statement.ts'
import type { UnknownColumn } from '../harmless/reading.ts'
import { refuse } from '../rewrite/refuse.ts'
import type { Scope } from '../rewrite/scope.ts'

/**
 * Checks that each `item.column` of a rewritten query is a column of its item. If it is not,
 * PostgreSQL takes `item.name` for a function call or a cast: `t.pg_read_file` would read the file
 * that the item `t` names.
 *
 * @throws FST_TENANCY_QUERY_REFUSED
 */
export function checkColumns (query: JudgedQuery, scope: Scope, judge: Judge | undefined): void {
  const verdict = judge && query.verdict(judge)
  if (verdict?.isReadable === false)
    return refuse(
      'this query',
      'its columns cannot be told from functions',
      'write it with another method of Kysely'
    )
  const unknown = verdict === undefined ? withoutCatalog(query, scope) : verdict.unknown
  if (unknown === undefined) return
  judge?.hurry()
  const { item, column } = unknown
  refuse(
    `'${column}' of '${item}'`,
    'it is no column that the catalog showed, so that PostgreSQL could call a function of that name',
    'correct the name, or give what the sub-query selects a name with as(); ' +
      'a column that was added just now is found within seconds'
  )
}

function withoutCatalog ({ query }: CompiledQuery, { tables }: Scope): UnknownColumn | undefined {
  return read(query, { schema: tables.schema, of: () => undefined, results: () => [] }).unknown.find((
    { isCertain }
  ) => isCertain)
}
