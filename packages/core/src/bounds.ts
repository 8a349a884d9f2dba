import { Buffer } from 'node:buffer'

import type { Tenant } from './tenant.ts'

/** The longest of each, in characters; settings in bytes of JSON; domains with claims. */
export const tenantBounds: Readonly<Record<'name' | 'plan' | 'settings' | 'domains', number>> = Object.freeze(
  { name: 200, plan: 63, settings: 65_536, domains: 100 }
)

/** Says what is wrong with the name of a tenant, in words that finish a sentence; undefined when nothing is. */
export function nameProblem (name: string): string | undefined {
  return isShort(name, tenantBounds.name)
    ? undefined
    : 'must be 1 to 200 characters, none of them a control character'
}

/** The like of {@link nameProblem} for a plan. */
export function planProblem (plan: string): string | undefined {
  return isShort(plan, tenantBounds.plan)
    ? undefined
    : 'must be 1 to 63 characters, none of them a control character'
}

/** The like of {@link nameProblem} for settings. */
export function settingsProblem (settings: Readonly<Record<string, unknown>>): string | undefined {
  return Buffer.byteLength(JSON.stringify(settings)) <= tenantBounds.settings
    ? undefined
    : 'must be at most 64 KiB of JSON'
}

/**
 * Says what of a tenant that is to be written is longer than it may be; undefined when nothing is. Only what is given is looked at:
 * a tenant that was written before there were bounds can still be suspended.
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
