import { quoteText, type SqlClient } from '@fastify-tenancy/postgres/client'
import { setTimeout as sleep } from 'node:timers/promises'

import type { LockRetry } from '../context/lock-retry.ts'
import type { FillStep } from './steps.ts'

/**
 * Pages of 8 kB in one chunk: some thousands of rows, about 50 ms. Rows are locked for no longer.
 */
const chunkPages = 128

/** Delay before another round for rows that were locked, in milliseconds. */
const pause = 200

/**
 * Fills a table in chunks of pages, each in its own transaction. It needs no index and reads each
 * page once. Rows that other transactions had locked are filled in further rounds, until no
 * fillable row is left.
 */
export async function backfill (
  client: SqlClient,
  lockRetry: LockRetry,
  step: FillStep,
  onChunk: (done: number, total: number) => void
): Promise<void> {
  const sizes: number[] = []
  for (const leaf of step.leaves) sizes.push(await pagesOf(client, leaf))
  const total = sizes.reduce((sum, size) => sum + size, 0)
  let done = 0
  for (const leaf of step.leaves) {
    for (let round = 0; round === 0 || await hasRest(client, step.rest(leaf)); round++) {
      if (round > 0) await sleep(pause)
      const size = await pagesOf(client, leaf)
      for (let page = 0; page < size; page += chunkPages) {
        await lockRetry.run(
          'backfill',
          step.update(leaf, `'(${page},0)'`, `'(${page + chunkPages},0)'`),
          true
        )
        if (round === 0) onChunk(Math.min(done + page + chunkPages, total), total)
      }
      if (round === 0) done += size
    }
  }
}

/**
 * Returns the backfill as one statement for a script. `commit` ends each chunk, so it must not run
 * in a transaction.
 */
export function backfillScript (step: FillStep): string {
  const parts = step.leaves.map(leaf => `
      loop
        select pg_relation_size(${quoteText(leaf)}::regclass) / current_setting('block_size')::int into size;
        for page in 0 .. size - 1 by ${chunkPages} loop
          ${step.update(leaf, "format('(%s,0)', page)", `format('(%s,0)', page + ${chunkPages})`)};
          commit;
        end loop;
        exit when not exists (${step.rest(leaf)});
        perform pg_sleep(${pause / 1000});
      end loop;`)
  return `
    do $tenancy$
    declare
      size bigint;
    begin${parts.join('')}
    end
    $tenancy$`
}

async function pagesOf (client: SqlClient, leaf: string): Promise<number> {
  const { rows: [row] } = await client.query<{ pages: number }>(
    `
    select (
      pg_catalog.pg_relation_size($1::regclass) / pg_catalog.current_setting('block_size')::int
    )::int as pages`,
    [leaf]
  )
  return row?.pages ?? 0
}

async function hasRest (client: SqlClient, query: string): Promise<boolean> {
  const { rows: [row] } = await client.query<{ found: boolean }>(`select exists (${query}) as found`)
  return row?.found ?? false
}
