import { idProblem, TenantConflictError } from '@fastify-tenancy/core'
import type { FastifyRequest } from 'fastify'

import type { CreateIfMissing } from './options.ts'

/** Has tenants made whom verified credentials name and nobody knows: one at a time for each name in this process. */
export class Creation {
  readonly #create: CreateIfMissing
  readonly #underWay = new Map<string, Promise<void>>()

  constructor (create: CreateIfMissing) {
    this.#create = create
  }

  /** Resolves when the tenant may be looked up again; to false for a claim that is no tenant's name. */
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
      // Another process was first: its tenant is found, ready or not.
      if (!(error instanceof TenantConflictError)) throw error
    }
  }
}
