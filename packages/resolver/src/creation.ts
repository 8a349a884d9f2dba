import { idProblem, TenantConflictError } from '@fastify-tenancy/core'
import type { FastifyRequest } from 'fastify'

import type { CreateIfMissing } from './options.ts'

/**
 * Creates the tenant that verified credentials name but the registry does not have. At most one
 * creation per name runs in this process.
 */
export class Creation {
  readonly #create: CreateIfMissing
  readonly #underWay = new Map<string, Promise<void>>()

  constructor (create: CreateIfMissing) {
    this.#create = create
  }

  /**
   * Resolves to true when the tenant can be looked up again, and to false if the claim is not a
   * valid tenant id.
   */
  async make (claim: string, request: FastifyRequest): Promise<boolean> {
    if (idProblem(claim) !== undefined) return false
    const making = this.#underWay.get(claim) ?? this.#start(claim, request)
    await making
    return true
  }

  #start (claim: string, request: FastifyRequest): Promise<void> {
    const making = this.#run(claim, request).finally(() => {
      this.#underWay.delete(claim)
    })
    this.#underWay.set(claim, making)
    return making
  }

  async #run (claim: string, request: FastifyRequest): Promise<void> {
    try {
      await this.#create(claim, request)
    } catch (error) {
      // Another process created the tenant first. The next look-up finds it, ready or not.
      if (!(error instanceof TenantConflictError)) throw error
    }
  }
}
