const alphabet = /^[A-Za-z0-9_-]{1,63}$/

/**
 * Says what is wrong with a tenant id, in words that finish a sentence; undefined when nothing is.
 * The alphabet has no character that means anything in a Redis key, a glob, a SQL literal or a host.
 * Whether an id also fits the type of a tenant column is for the registry to check (`id::type::text = id`).
 */
export function idProblem (id: unknown): string | undefined {
  if (typeof id !== 'string') return 'a tenant id must be a string'
  if (!alphabet.test(id)) return 'a tenant id must be 1 to 63 of A-Z, a-z, 0-9, _ and -'
  return undefined
}
