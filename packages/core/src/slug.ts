/** Labels that no tenant may use, because operators use them for their own hosts. */
export const reservedSlugs: readonly string[] = Object.freeze([
  'www',
  'api',
  'app',
  'admin',
  'administrator',
  'assets',
  'auth',
  'billing',
  'blog',
  'cdn',
  'dashboard',
  'dev',
  'docs',
  'email',
  'ftp',
  'git',
  'help',
  'imap',
  'internal',
  'localhost',
  'login',
  'mail',
  'metrics',
  'mx',
  'ns1',
  'ns2',
  'oauth',
  'pop',
  'preview',
  'root',
  'security',
  'smtp',
  'sso',
  'staging',
  'static',
  'status',
  'support',
  'system',
  'tenancy',
  'webmail',
  'wildcard'
])

const label = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const uuidWithoutHyphens = /^[0-9a-f]{32}$/

/**
 * Returns what is wrong with a slug, as the end of a sentence, or undefined. Creation and look-up
 * share this rule, so a host with an invalid label costs no look-up.
 *
 * @param reserved refused labels; default {@link reservedSlugs}. Pass `[]` to check the format
 * only.
 */
export function slugProblem (slug: unknown, reserved: readonly string[] = reservedSlugs): string | undefined {
  if (typeof slug !== 'string') return 'a slug must be a string'
  if (!label.test(slug))
    return 'a slug must be one lower-case DNS label: 1 to 63 of a-z, 0-9 and -, no hyphen at either end'
  // Every IDNA A-label (xn--…) has '--' at positions 3 and 4. Refusing it excludes look-alike
  // names.
  if (slug.startsWith('--', 2)) return 'a slug must not have "--" at positions 3 and 4'
  if (/^[0-9]+$/.test(slug)) return 'a slug must not be all digits'
  if (uuid.test(slug) || uuidWithoutHyphens.test(slug)) return 'a slug must not look like a uuid'
  if (reserved.includes(slug)) return 'this slug is reserved'
  return undefined
}
