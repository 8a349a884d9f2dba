import { idProblem, slugProblem, type TenantRef } from '@fastify-tenancy/core'
import { InvalidArgumentError } from 'commander'

/**
 * Parses `id:…` or a bare slug. Refuses impossible ids and slugs before any connection is opened.
 */
export function parseRef (text: string): TenantRef {
  const isId = text.startsWith('id:')
  const name = isId ? text.slice(3) : text
  const problem = isId ? idProblem(name) : slugProblem(name, [])
  if (problem !== undefined) throw new InvalidArgumentError(`${problem}; write a slug, or id: and an id.`)
  return isId ? { id: name } : { slug: name }
}

/** Returns how messages name a tenant. */
export function slugOrId (ref: TenantRef): string {
  return 'id' in ref ? `id:${ref.id}` : ref.slug
}
