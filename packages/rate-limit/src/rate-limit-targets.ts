import { addressKey, tenantKey, type Tenant } from '@fastify-tenancy/core'

import { clientAddress } from './client-address.ts'
import type { Limits, TenantLimits } from './limits.ts'
import type { Quota } from './quota.ts'
import { minute, second } from './window.ts'

/** Who is counted, tenant or client address, and against what. */
export interface RateLimitTarget {
  /** Distinct for each subject; requests in flight are counted under it. */
  readonly key: string
  readonly limits: TenantLimits
  /** What each request is held against; the one of `rpm` is first where there is one. */
  readonly quotas: readonly Quota[]
  /** `RateLimit-Policy`'s name for it. */
  readonly name: 'tenant' | 'anonymous'
  /** The header `RateLimit-Policy`; the same for all requests under one limit, so it is made once. */
  readonly policy: string
}

/** Makes the subject of a request from the limits that hold at present. */
export class RateLimitTargets {
  readonly #smoothing: boolean
  #limits: Limits
  #anonymousPolicy: string
  // A resolver gives the same frozen object again and again, so that keys are built once for it.
  #tenants = new WeakMap<Tenant, RateLimitTarget>()

  constructor (limits: Limits, smoothing: boolean) {
    this.#limits = limits
    this.#anonymousPolicy = policyOf('anonymous', limits.anonymous)
    this.#smoothing = smoothing
  }

  /** Replaces the limits. Counts go on: they do not hang on limits. */
  replace (limits: Limits): void {
    this.#limits = limits
    this.#anonymousPolicy = policyOf('anonymous', limits.anonymous)
    this.#tenants = new WeakMap()
  }

  limitsOf (tenant: Tenant): TenantLimits {
    return this.#tenant(tenant).limits
  }

  /** @param client the request, whose `ip` is only read where it counts: behind trusted proxies it costs more than all the rest. */
  ofTenant (tenant: Tenant, client: { readonly ip: string | undefined }): RateLimitTarget {
    const target = this.#tenant(tenant)
    const { perClient } = target.limits
    if (perClient === undefined) return target
    const perAddress: Quota = {
      key: tenantKey(tenant.id, 'limit-client', clientAddress(client.ip)),
      overflow: tenantKey(tenant.id, 'limit-client'),
      name: 'perClient',
      limit: perClient,
      shape: minute,
      smoothing: this.#smoothing
    }
    return { ...target, quotas: [...target.quotas, perAddress] }
  }

  ofAddress (ip: string | undefined): RateLimitTarget {
    const address = clientAddress(ip)
    const limits = this.#limits.anonymous
    const quotas = this.#quotas(limits, window => addressKey(address, `limit-${window}`))
      .map(quota => ({
        ...quota,
        overflow: addressKey('others', quota.shape === minute ? 'limit-minute' : 'limit-second')
      }))
    return { key: addressKey(address), limits, quotas, name: 'anonymous', policy: this.#anonymousPolicy }
  }

  #tenant (tenant: Tenant): RateLimitTarget {
    const found = this.#tenants.get(tenant)
    if (found !== undefined) return found
    const limits = this.#limits.of(tenant)
    const target: RateLimitTarget = {
      key: tenantKey(tenant.id, 'limit'),
      limits,
      quotas: this.#quotas(limits, window => tenantKey(tenant.id, 'limit', window)),
      name: 'tenant',
      policy: policyOf('tenant', limits)
    }
    this.#tenants.set(tenant, target)
    return target
  }

  #quotas ({ rpm, burst }: TenantLimits, key: (window: 'minute' | 'second') => string): Quota[] {
    const quotas: Quota[] = []
    if (rpm !== 'unlimited')
      quotas.push({ key: key('minute'), name: 'rpm', limit: rpm, shape: minute, smoothing: this.#smoothing })
    // A burst that may be passed by smoothing would be no bound.
    if (burst !== undefined)
      quotas.push({ key: key('second'), name: 'burst', limit: burst, shape: second, smoothing: false })
    return quotas
  }
}

function policyOf (name: RateLimitTarget['name'], { rpm }: TenantLimits): string {
  return `"${name}";q=${rpm};w=60`
}
