import type { TenantRecord, TenantStatus } from '@fastify-tenancy/core'
import type { Manager } from '@fastify-tenancy/manager'

import type { ConsoleTenancy } from './suite.ts'

/** What an operator can do. Nothing here destroys data. */
export type ActionName = 'suspend' | 'resume' | 'plan' | 'invalidate'

/** What the operator gave on the confirmation page. */
interface ActionInput {
  readonly plan: string | undefined
  readonly reason: string | undefined
}

/** One action on a tenant. */
interface Action {
  readonly label: string
  /** What the button of the confirmation says before the tenant's slug. @default the label */
  readonly button?: string
  /** What happens, for the confirmation page. */
  readonly effect: string
  /** For the page after it. */
  readonly done: string
  /** The statuses in which it can be done. */
  readonly from: readonly TenantStatus[]
  /** Whether requests of the tenant are refused from then on. */
  readonly isDangerous: boolean
  run(
    parts: { readonly manager: Manager; readonly tenancy: ConsoleTenancy },
    tenant: TenantRecord,
    input: ActionInput
  ): Promise<unknown>
}

/** Every action by its name in the URL. `manager` names the operator already. */
export const actions: Readonly<Record<ActionName, Action>> = {
  suspend: {
    label: 'Suspend',
    effect: 'Every request of the tenant gets 403 from now on, in all processes. Its data stays. ' +
      'Work that is under way may finish.',
    done: 'The tenant is suspended.',
    from: ['active'],
    isDangerous: true,
    run: ({ manager }, { id }, { reason }) => manager.suspend({ id }, reason === undefined ? {} : { reason })
  },
  resume: {
    label: 'Resume',
    effect: 'The tenant is served again, in all processes.',
    done: 'The tenant is served again.',
    from: ['suspended'],
    isDangerous: false,
    run: ({ manager }, { id }) => manager.resume({ id })
  },
  plan: {
    label: 'Change plan',
    button: 'Change plan of',
    effect:
      'The limits of the new plan hold from now on, in all processes. A tenant with limits of its own ' +
      'keeps those.',
    done: 'The plan is changed.',
    from: ['active', 'suspended'],
    isDangerous: false,
    run: ({ manager }, { id, version }, { plan }) =>
      manager.update({ id }, { version, ...(plan !== undefined && { plan }) })
  },
  invalidate: {
    label: 'Invalidate',
    effect: 'Every process forgets what it knows of the tenant, and reads its record again with the next ' +
      'request. Nothing else changes.',
    done: 'Every process looks the tenant up again.',
    from: ['provisioning', 'active', 'suspended', 'deleting'],
    isDangerous: false,
    async run ({ manager, tenancy }, { id }) {
      await manager.invalidate({ id })
      await tenancy.invalidate({ id })
    }
  }
}

/** Whether a part of a URL names an action. */
export function isAction (name: string): name is ActionName {
  return Object.hasOwn(actions, name)
}
