/** The option `rls.secret` for one secret, or for a new and an old one. */
export function secretOf ([first = '', second]: readonly string[]): string | readonly [string, string] {
  return second === undefined ? first : [first, second]
}
