import type { Tenant } from '@fastify-tenancy/core'
import { addressKey, tenantKey } from '@fastify-tenancy/core/keys'

import { clientAddress } from './client-address.ts'
import type { Limits, TenantLimits } from './limits.ts'
import type { Quota } from './quota.ts'
import { minute, second } from './window.ts'

/** A counted tenant or client address, with its limits. */
export interface RateLimitTarget {
  /** Unique per target. Requests in flight are counted under it. */
  readonly key: string
  readonly limits: TenantLimits
  /** The quotas that each request must pass. The `rpm` quota comes first, if there is one. */
  readonly quotas: readonly Quota[]
  /** The target's name in `RateLimit-Policy`. */
  readonly name: 'tenant' | 'anonymous'
  /**
   * The header `RateLimit-Policy`. It is built once, because it is equal for all requests under one
   * limit.
   */
  readonly policy: string
}

/** Creates the target of a request from the current limits. */
export class RateLimitTargets {
  readonly #smoothing: boolean
  #limits: Limits
  #anonymousPolicy: string
  // The resolver returns the same frozen object repeatedly, so the keys of a tenant are built once.
  #tenants = new WeakMap<Tenant, RateLimitTarget>()

  constructor (limits: Limits, smoothing: boolean) {
    this.#limits = limits
    this.#anonymousPolicy = policyOf('anonymous', limits.anonymous)
    this.#smoothing = smoothing
  }

  /** Replaces the limits. Counts continue, because their keys do not depend on the limits. */
  replace (limits: Limits): void {
    this.#limits = limits
    this.#anonymousPolicy = policyOf('anonymous', limits.anonymous)
    this.#tenants = new WeakMap()
  }

  limitsOf (tenant: Tenant): TenantLimits {
    return this.#tenant(tenant).limits
  }

  /**
   * @param client the request. Its `ip` is read only if needed, because behind trusted proxies
   * reading it costs more than the rest of this hook.
   */
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
    // The burst quota never uses smoothing, because smoothing would let requests exceed it.
    if (burst !== undefined)
      quotas.push({ key: key('second'), name: 'burst', limit: burst, shape: second, smoothing: false })
    return quotas
  }
}

function policyOf (name: RateLimitTarget['name'], { rpm }: TenantLimits): string {
  return `"${name}";q=${rpm};w=60`
}
