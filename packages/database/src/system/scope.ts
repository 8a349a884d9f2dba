import { ScopeClosedError } from '@fastify-tenancy/core'

import type { WorkScope } from '../kysely/driver-settings.ts'

/** The scope of work without a tenant. It only ends. */
export class SystemScope implements WorkScope {
  readonly isAborted = false
  readonly #closers: (() => void)[] = []
  #isClosed = false

  get isClosed (): boolean {
    return this.#isClosed
  }

  assertOpen (): void {
    if (this.#isClosed)
      throw new ScopeClosedError('This handle was used after its work had ended: await all statements in it')
  }

  onClose (closer: () => void): void {
    this.#closers.push(closer)
  }

  end (): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const closer of this.#closers) closer()
  }
}
