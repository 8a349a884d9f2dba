import { SetupInvalidError } from '@fastify-tenancy/postgres'
import { assertNotNewer } from '@fastify-tenancy/postgres/install'

import type { ManagerContext } from './context.ts'
import { withClient, type ShardPools } from './shard-pools.ts'

/** One check for all managers on the same connections. */
const checks = new WeakMap<ShardPools, Promise<void>>()

/**
 * Returns the context, after a check that the database is not newer than this version. Checked
 * once. Other errors are ignored here, because the call itself reports an uninitialised or
 * unreachable database.
 */
export async function whenReady (context: ManagerContext): Promise<ManagerContext> {
  const { shards } = context
  let check = checks.get(shards)
  if (check === undefined) {
    check = withClient(shards.get('default'), assertNotNewer).catch((error: unknown) => {
      checks.delete(shards)
      if (error instanceof SetupInvalidError) throw error
    })
    checks.set(shards, check)
  }
  await check
  return context
}
