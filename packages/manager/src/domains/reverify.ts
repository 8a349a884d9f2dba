import { TenantConflictError } from '@fastify-tenancy/core'
import { inTransaction } from '@fastify-tenancy/postgres/client'

import { tellDomain } from '../context/announce-change.ts'
import type { ManagerContext } from '../context/context.ts'
import { withClient } from '../context/shard-pools.ts'
import { audit } from '../operations/audit.ts'
import { askProof, type Proof } from './dns.ts'
import { markLapsed, markMissed, markSeen, markVerified, readDomains, type StoredDomain } from './store.ts'

/** The result of {@link Domains.reverify} for one domain. */
export interface DomainCheck {
  /** The tenant's id. */
  readonly tenant: string
  readonly domain: string
  /**
   * `'seen'`: the record was found. `'missed'`: it is missing. `'lapsed'`: it was missing too
   * often, so the domain is no longer routed. `'restored'`: a lapsed domain has its record again.
   * `'unanswered'`: no server answered, and nothing was changed.
   */
  readonly state: 'seen' | 'missed' | 'lapsed' | 'restored' | 'unanswered'
}

/** Number of parallel DNS queries. */
const atOnce = 20

export async function reverifyDomains (context: ManagerContext): Promise<readonly DomainCheck[]> {
  const { options: { domains, progress }, shards } = context
  // Skips claims, which wait for `verify`, and domains that were declared verified, which have no
  // record.
  const all = (await readDomains(shards.get('default'))).filter(({ status, token }) =>
    status !== 'pending' && token !== null
  )
  const checks: DomainCheck[] = []
  for (let from = 0; from < all.length; from += atOnce) {
    const some = all.slice(from, from + atOnce)
    const proofs = await Promise.all(some.map(({ domain, token }) => askProof(domain, token ?? '', domains)))
    for (const [index, stored] of some.entries()) {
      const { tenant, domain } = stored
      checks.push({ tenant, domain, state: await apply(context, stored, proofs[index] ?? 'unanswered') })
    }
    progress?.({ operation: 'domains', step: 'reverify', done: checks.length, total: all.length })
  }
  return checks
}

async function apply (
  context: ManagerContext,
  stored: StoredDomain,
  proof: Proof
): Promise<DomainCheck['state']> {
  const state = proof === 'unanswered' ? proof : await write(context, stored, proof)
  if (state === 'restored' || state === 'lapsed') await tellDomain(context, stored.tenant, stored.domain)
  return state
}

async function write (
  context: ManagerContext,
  { tenant, domain, status }: StoredDomain,
  proof: Exclude<Proof, 'unanswered'>
): Promise<DomainCheck['state']> {
  const { options: { domains: { misses } }, shards } = context
  return withClient(shards.get('default'), client =>
    inTransaction(client, async () => {
      if (proof === 'shown' && status === 'verified') {
        await markSeen(client, tenant, domain)
        return 'seen' as const
      }
      if (proof === 'shown') {
        await markVerified(client, tenant, domain)
        await audit(context, client, tenant, 'domain.restore', { domain })
        return 'restored' as const
      }
      const count = await markMissed(client, tenant, domain)
      if (status === 'lapsed' || count < misses) return 'missed' as const
      await markLapsed(client, tenant, domain)
      await audit(context, client, tenant, 'domain.lapse', { domain, misses: count })
      return 'lapsed' as const
    })).catch((error: unknown) => {
      // Another tenant has verified the domain meanwhile.
      if (error instanceof TenantConflictError) return 'missed' as const
      throw error
    })
}
