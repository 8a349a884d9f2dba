import { Buffer } from 'node:buffer'

import type { Tenant } from './tenant.ts'

/**
 * Maximum lengths: characters for name and plan, bytes of JSON for settings, count for domains
 * (including claimed ones).
 */
export const tenantBounds: Readonly<Record<'name' | 'plan' | 'settings' | 'domains', number>> = Object.freeze(
  { name: 200, plan: 63, settings: 65_536, domains: 100 }
)

/** Returns what is wrong with a tenant's name, as the end of a sentence, or undefined. */
export function nameProblem (name: string): string | undefined {
  return isShort(name, tenantBounds.name)
    ? undefined
    : 'must be 1 to 200 characters, none of them a control character'
}

/** Like {@link nameProblem}, for a plan. */
export function planProblem (plan: string): string | undefined {
  return isShort(plan, tenantBounds.plan)
    ? undefined
    : 'must be 1 to 63 characters, none of them a control character'
}

/** Like {@link nameProblem}, for settings. */
export function settingsProblem (settings: Readonly<Record<string, unknown>>): string | undefined {
  return Buffer.byteLength(JSON.stringify(settings)) <= tenantBounds.settings
    ? undefined
    : 'must be at most 64 KiB of JSON'
}

/**
 * Returns which field of a tenant exceeds its bound, or undefined. Checks only the given fields, so
 * a tenant written before there were bounds can still be suspended.
 */
export function boundsProblem (
  { name, plan, settings, domains }: Partial<Pick<Tenant, 'name' | 'plan' | 'settings' | 'domains'>>
): string | undefined {
  const problems: [string, string | undefined][] = [
    ['the name', name === undefined ? undefined : nameProblem(name)],
    ['the plan', plan === undefined ? undefined : planProblem(plan)],
    ['the settings', settings === undefined ? undefined : settingsProblem(settings)],
    ['the domains',
      domains === undefined || domains.length <= tenantBounds.domains ? undefined : 'must be at most 100']
  ]
  const found = problems.find(([, problem]) => problem !== undefined)
  return found && found.join(' ')
}

function isShort (text: string, most: number): boolean {
  return text !== '' && text.length <= most && text.isWellFormed() && !/[\p{Cc}\u2028\u2029]/u.test(text)
}
