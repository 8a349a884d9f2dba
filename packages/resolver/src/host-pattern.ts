import { OptionInvalidError } from '@fastify-tenancy/core'

import { parseHost } from './host.ts'

/*
 * Host patterns: '{tenant}.example.com', '{tenant}--{any}.preview.dev'. What follows the labels with a placeholder is
 * the pattern's base domain: the operator's own, so that no name at or below it is ever looked up as a custom domain.
 */

interface HostPattern {
  readonly base: string
  /** '.example.com' where the pattern is '{tenant}' and the base alone: compared without a regular expression. */
  readonly suffix: string | undefined
  readonly form: RegExp
}

const placeholder = /\{(?:tenant|any)\}/

/**
 * The pattern that a base domain stands for: '{tenant}.example.com'.
 *
 * @throws FST_TENANCY_OPTION_INVALID for what is no domain.
 */
export function patternOf (baseDomain: string, name: string): string {
  if (parseHost(baseDomain) !== baseDomain.toLowerCase()) throw new OptionInvalidError(`${name}.baseDomain must be a domain without scheme and port, such as 'example.com', got '${baseDomain.slice(0, 60)}'`)
  return `{tenant}.${baseDomain}`
}

/** The host patterns of an application. */
export class HostPatterns {
  readonly #patterns: readonly HostPattern[]
  readonly #bases: ReadonlySet<string>

  /** @throws FST_TENANCY_OPTION_INVALID for a pattern that is none. */
  constructor (patterns: readonly string[], name = 'options') {
    this.#patterns = patterns.map((pattern, at) => compile(pattern, `${name}.hosts.${at}`))
    this.#bases = new Set(this.#patterns.map(pattern => pattern.base))
  }

  /**
   * What stands in the place of `{tenant}`, whether it is a slug or not. Undefined for a base domain,
   * and for every host that fits no pattern: also one with more labels.
   */
  labelOf (host: string): string | undefined {
    if (this.#bases.has(host)) return undefined // it may fit another pattern: eu.example.com
    for (const { suffix, form } of this.#patterns) {
      if (suffix !== undefined) {
        if (!host.endsWith(suffix)) continue
        const label = host.slice(0, -suffix.length)
        if (!label.includes('.')) return label
      } else {
        const label = form.exec(host)?.groups?.['tenant']
        if (label !== undefined) return label
      }
    }
    return undefined
  }

  /** Whether this is a base domain itself. */
  isBase (host: string): boolean {
    return this.#bases.has(host)
  }

  /** Whether this is a base domain or any name below one. */
  covers (host: string): boolean {
    if (this.#bases.has(host)) return true
    for (const { base } of this.#patterns) {
      if (host.length > base.length && host.endsWith(base) && host.charCodeAt(host.length - base.length - 1) === 46) return true
    }
    return false
  }
}

function compile (given: string, name: string): HostPattern {
  const pattern = given.toLowerCase()
  const labels = pattern.split('.')
  const last = labels.findLastIndex(label => placeholder.test(label))
  const base = labels.slice(last + 1).join('.')
  const count = pattern.split('{tenant}').length - 1
  if (count !== 1 || base === '' || parseHost(pattern.replaceAll(/\{(?:tenant|any)\}/g, 'a')) === undefined || parseHost(base) !== base) {
    throw new OptionInvalidError(`${name} must be a host with one {tenant} before a base domain, such as '{tenant}.example.com', got '${given.slice(0, 60)}'`)
  }
  if (/\}\{/.test(pattern)) throw new OptionInvalidError(`${name} must have something between two placeholders, such as '{tenant}--{any}', got '${given.slice(0, 60)}'`)
  return {
    base,
    suffix: pattern === `{tenant}.${base}` ? `.${base}` : undefined,
    form: new RegExp(`^${labels.map(expression).join('\\.')}$`)
  }
}

// Which of two placeholders takes a separator that occurs twice must not depend on luck: {tenant} never does.
// Before the separator it stops at the first, behind it starts after the last, since {any} is greedy.
function expression (label: string): string {
  return label
    .replaceAll('-', '\\-')
    .replace('{tenant}', '(?<tenant>[a-z0-9_\\-]+?)')
    .replaceAll('{any}', '[a-z0-9_\\-]+')
}
