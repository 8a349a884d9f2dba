import { OptionInvalidError } from './errors.ts'
import { parseHost } from './host.ts'

/**
 * A host pattern: '{tenant}.example.com', '{tenant}--{any}.preview.dev'. The part after the labels
 * with placeholders is the base domain. It belongs to the operator, so no name at or below it is
 * ever looked up as a custom domain.
 */

interface HostPattern {
  /** The pattern as it was given. */
  readonly text: string
  /** Number of literal characters before the base. A pattern with more of them is more specific. */
  readonly literals: number
  readonly base: string
  /**
   * '.example.com' if the pattern is '{tenant}' and the base only, so that no regular expression is
   * needed.
   */
  readonly suffix: string | undefined
  readonly form: RegExp
}

const placeholder = /\{(?:tenant|any)\}/

/**
 * Returns the pattern of a base domain: '{tenant}.example.com'.
 *
 * @throws FST_TENANCY_OPTION_INVALID if it is not a domain.
 */
export function patternOf (baseDomain: string, name: string): string {
  if (parseHost(baseDomain) !== baseDomain.toLowerCase())
    throw new OptionInvalidError(
      `${name}.baseDomain must be a domain without scheme and port, such as 'example.com', got '${
        baseDomain.slice(0, 60)
      }'`
    )
  return `{tenant}.${baseDomain}`
}

/** How a host of one slug would be read as another slug. */
export interface Misreading {
  /** The pattern that reads it so. */
  readonly pattern: string
  /** The slug that is read instead. */
  readonly as: string
  /** The pattern from which the host was made. */
  readonly of: string
}

/**
 * The host patterns of an application. If a host fits several, the pattern with the most literal
 * characters before the base wins, and of equal ones the first. So `{tenant}-pr-{any}.example.com`
 * precedes `{tenant}.example.com`.
 */
export class HostPatterns {
  readonly #patterns: readonly HostPattern[]
  readonly #bases: ReadonlySet<string>

  /** @throws FST_TENANCY_OPTION_INVALID for an invalid pattern. */
  constructor (patterns: readonly string[], name = 'options') {
    this.#patterns = patterns.map((pattern, at) => compile(pattern, `${name}.hosts.${at}`)).toSorted((a, b) =>
      b.literals - a.literals
    )
    this.#bases = new Set(this.#patterns.map(pattern => pattern.base))
    const shadow = this.misreading(probe)
    if (shadow !== undefined)
      throw new OptionInvalidError(
        `${name}.hosts must leave hosts for each pattern, and '${shadow.pattern}' takes every ` +
          `host of '${shadow.of}': remove one of them`
      )
  }

  /** The base domains, which belong to the application. */
  get bases (): readonly string[] {
    return [...this.#bases]
  }

  /**
   * Whether every slug is read as itself. False if a pattern has more than `{tenant}` in a label.
   */
  get isPlain (): boolean {
    return this.#patterns.every(({ literals }) => literals === 0)
  }

  /**
   * Returns the pattern by which a host of this slug would be read as another slug, and so as
   * another tenant. Undefined if there is none.
   */
  misreading (slug: string): Misreading | undefined {
    for (const pattern of this.#patterns) {
      const read = this.#read(hostOf(pattern, slug))
      if (read !== undefined && read.label !== slug)
        return { pattern: read.pattern.text, as: read.label, of: pattern.text }
    }
    return undefined
  }

  /**
   * Returns the text in the place of `{tenant}`, which need not be a valid slug. Undefined for a
   * base domain and for a host that fits no pattern, such as one with more labels.
   */
  labelOf (host: string): string | undefined {
    return this.#read(host)?.label
  }

  /** Returns a host of this slug, or undefined if there is no pattern. */
  hostOf (slug: string): string | undefined {
    const [first] = this.#patterns
    return first && hostOf(first, slug)
  }

  /** Whether this is a base domain. */
  isBase (host: string): boolean {
    return this.#bases.has(host)
  }

  /** Whether this is a base domain or a name below one. */
  covers (host: string): boolean {
    if (this.#bases.has(host)) return true
    for (const { base } of this.#patterns) {
      if (
        host.length > base.length && host.endsWith(base) &&
        host.charCodeAt(host.length - base.length - 1) === 46
      ) return true
    }
    return false
  }

  #read (host: string): { readonly label: string; readonly pattern: HostPattern } | undefined {
    if (this.#bases.has(host)) return undefined // it may fit another pattern: eu.example.com
    for (const pattern of this.#patterns) {
      const { suffix, form } = pattern
      if (suffix !== undefined) {
        if (!host.endsWith(suffix)) continue
        const label = host.slice(0, -suffix.length)
        if (!label.includes('.')) return { label, pattern }
      } else {
        const label = form.exec(host)?.groups?.['tenant']
        if (label !== undefined) return { label, pattern }
      }
    }
    return undefined
  }
}

/** A slug that contains no separator of any pattern. */
const probe = 'q'

/**
 * Returns the first host of a pattern for a slug. The value of `{any}` does not affect which part
 * is the tenant's.
 */
function hostOf ({ text }: HostPattern, slug: string): string {
  return text.toLowerCase().replace('{tenant}', slug).replaceAll('{any}', 'z')
}

function compile (input: string, name: string): HostPattern {
  const pattern = input.toLowerCase()
  const labels = pattern.split('.')
  const last = labels.findLastIndex(label => placeholder.test(label))
  const base = labels.slice(last + 1).join('.')
  const count = pattern.split('{tenant}').length - 1
  if (
    count !== 1 || base === '' || parseHost(pattern.replaceAll(/\{(?:tenant|any)\}/g, 'a')) === undefined ||
    parseHost(base) !== base
  ) {
    throw new OptionInvalidError(
      `${name} must be a host with one {tenant} before a base domain, such as '{tenant}.example.com', got '${
        input.slice(0, 60)
      }'`
    )
  }
  if (/\}\{/.test(pattern))
    throw new OptionInvalidError(
      `${name} must have something between two placeholders, such as '{tenant}--{any}', got '${
        input.slice(0, 60)
      }'`
    )
  return {
    text: input,
    literals: pattern.slice(0, pattern.length - base.length).replaceAll(/\{(?:tenant|any)\}|\./g, '').length,
    base,
    suffix: pattern === `{tenant}.${base}` ? `.${base}` : undefined,
    form: new RegExp(`^${labels.map(expression).join('\\.')}$`)
  }
}

// Makes the reading of a repeated separator unambiguous: {tenant} never contains it. Before the
// separator {tenant} is lazy; after it, {any} is greedy.
function expression (label: string): string {
  return label
    .replaceAll('-', '\\-')
    .replace('{tenant}', '(?<tenant>[a-z0-9_\\-]+?)')
    .replaceAll('{any}', '[a-z0-9_\\-]+')
}

/**
 * Returns why a slug cannot be used with these patterns, as the end of a sentence, or undefined.
 */
export function slugPatternProblem (slug: string, patterns: HostPatterns): string | undefined {
  const misreading = patterns.misreading(slug)
  return misreading &&
    `the host pattern '${misreading.pattern}' reads a host of the slug '${slug}' as that of ` +
      `'${misreading.as}': choose a slug without the text between its placeholders`
}
