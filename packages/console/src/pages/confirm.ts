import type { TenantRecord } from '@fastify-tenancy/core'

import { actions, type ActionName } from '../data/actions.ts'
import { badge } from '../html/format.ts'
import { html, type Html } from '../html/html.ts'
import type { ShownLimits } from '../data/suite.ts'
import { limitsText } from './tenant.ts'

/** What a confirmation page shows. */
interface ConfirmView {
  readonly base: string
  readonly action: ActionName
  readonly tenant: TenantRecord
  readonly actor: string
  readonly token: string
  /** The new plan and what it allows; undefined for other actions. */
  readonly plan: { readonly name: string; readonly limits: ShownLimits | undefined } | undefined
  /** What the present plan allows. */
  readonly limits: ShownLimits | undefined
}

/** Asks for one action, and says what it does. */
export function confirmPage ({ base, action, tenant, actor, token, plan, limits }: ConfirmView): Html {
  const { label, button = label, effect, isDangerous } = actions[action]
  const { id, slug, name, status, version } = tenant
  return html`<section class="card" aria-label="${label}">
<dl class="facts">
<div><dt>Tenant</dt><dd><strong>${slug}</strong>${
    name !== slug && html`<span class="sub">${name}</span>`
  }</dd></div>
<div><dt>Id</dt><dd>${id}</dd></div>
<div><dt>Status</dt><dd>${badge(status)}</dd></div>
${
    plan &&
    html`<div><dt>Plan now</dt><dd>${tenant.plan}<span class="sub">${limitsText(limits)}</span></dd></div>
<div><dt>New plan</dt><dd><strong>${plan.name}</strong><span class="sub">${
      limitsText(plan.limits)
    }</span></dd></div>`
  }
</dl>
<p>${effect}</p>
<p class="soft">The audit gets a line with your name, ${actor}.</p>
<form method="post" action="${base}/tenants/${id}/${action}">
<input type="hidden" name="token" value="${token}">
<input type="hidden" name="version" value="${version}">
${plan && html`<input type="hidden" name="plan" value="${plan.name}">`}
${
    action === 'suspend' &&
    html`<p><label>Reason, for the audit (optional)<input
      name="reason" maxlength="200" autocomplete="off"></label></p>`
  }
<div class="actions"><button class="${isDangerous ? 'danger' : 'main'}">${button} ${slug}</button>
<a class="button" href="${base}/tenants/${id}">Cancel</a></div>
</form>
</section>`
}
