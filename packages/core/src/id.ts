const alphabet = /^[A-Za-z0-9_-]{1,63}$/

/**
 * Returns what is wrong with a tenant id, as the end of a sentence, or undefined. No character of
 * the alphabet has a meaning in a Redis key, a glob, a SQL literal or a host.
 *
 * The registry checks whether an id also fits the type of a tenant column (`id::type::text = id`).
 */
export function idProblem (id: unknown): string | undefined {
  if (typeof id !== 'string') return 'a tenant id must be a string'
  if (!alphabet.test(id)) return 'a tenant id must be 1 to 63 of A-Z, a-z, 0-9, _ and -'
  return undefined
}
