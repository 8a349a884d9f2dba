import { isolations, type Isolation, type TenantRecord, type TenantRef } from '@fastify-tenancy/core'
import { InvalidArgumentError, Option, type Command } from 'commander'

import { slugOrId, parseRef } from '../run/ref.ts'
import type { Runner, CommandContext } from '../run/runner.ts'
import { UsageError } from '../terminal/confirm.ts'
import { notesOf, noteTenants, readPlans, unknownPlan, type Noted } from '../terminal/notes.ts'
import { fields, textTable } from '../terminal/output.ts'

interface CreateFlags {
  readonly id?: string
  readonly name?: string
  readonly plan?: string
  readonly isolation?: Isolation
  readonly shard?: string
  readonly domain?: readonly string[]
  readonly from?: string
}

interface SetFlags {
  readonly name?: string
  readonly plan?: string
  readonly setting?: Readonly<Record<string, unknown>>
}

export function addTenantCommands (program: Command, runner: Runner): void {
  program.command('create [slug]').description(
    'create a tenant, or take up a creation that was cut short; with --from, one for each customer'
  )
    .option('--id <id>', 'its id (default: a random uuid)')
    .option('--name <name>', 'its name for people (default: the slug)')
    .option('--plan <plan>', 'its plan (default: free)')
    .addOption(
      new Option('--isolation <strategy>', "how its rows are kept apart (default: the application's)")
        .choices(isolations)
    )
    .option('--shard <name>', 'the shard that it lives on (default: default)')
    .option('--domain <domain>', 'a custom domain, taken for verified; may be repeated', collect)
    .option(
      '--from <query>',
      'a query of existing customers: id and slug, and name and plan if wanted; ' +
        'may run again for new ones'
    )
    .action(
      runner.action<[string | undefined], CreateFlags>(
        async (
          { manager, output, limitsFile },
          [slug],
          { id, name, plan, isolation, shard, domain, from }
        ) => {
          const single = [slug, id, name, plan, isolation, shard, domain].filter(value => value !== undefined)
          if (from !== undefined) {
            if (single.length > 0)
              throw new UsageError('--from takes everything else from its query: leave the rest out')
            const report = await manager.createFrom({ query: from })
            output.result(
              report,
              () =>
                `created ${report.created.length} tenants; ${report.existing} customers were tenants before`
            )
            return
          }
          if (slug === undefined) throw new UsageError('name the slug of the tenant, or a query with --from')
          const tenant = await manager.create({
            slug,
            ...(id !== undefined && { id }),
            ...(name !== undefined && { name }),
            ...(plan !== undefined && { plan }),
            ...(isolation !== undefined && { isolation }),
            ...(shard !== undefined && { shard }),
            ...(domain !== undefined && { domains: domain })
          })
          await warnOfPlan(output, limitsFile, plan)
          output.result(tenant, () => `created ${described(tenant)}`)
        }
      )
    )

  program.command('list').description('all tenants')
    .action(runner.action(async ({ manager, output, limitsFile }) => {
      const listed: TenantRecord[] = []
      for await (const tenant of manager.list()) listed.push(tenant)
      const tenants = await noteTenants(
        listed,
        manager,
        await readPlans(limitsFile, line => {
          output.log(line)
        })
      )
      output.result(tenants, () => shownTable(tenants))
    }))

  program.command('show').argument('<tenant>', 'slug or id:…', parseRef).description('one tenant')
    .action(runner.action<[TenantRef]>(async ({ manager, output, limitsFile }, [ref]) => {
      const found = await find(manager, ref)
      const [tenant] = await noteTenants(
        [found],
        manager,
        await readPlans(limitsFile, line => {
          output.log(line)
        })
      )
      if (tenant !== undefined) output.result(tenant, () => [shown(tenant), ...notesOf(tenant)].join('\n'))
    }))

  program.command('set').argument('<tenant>', 'slug or id:…', parseRef).description(
    'change name, plan or settings'
  )
    .option('--name <name>', 'its name for people')
    .option('--plan <plan>', 'its plan')
    .option('--setting <key=value>', 'a setting, as JSON or else as text; may be repeated', collectSetting)
    .action(
      runner.action<[TenantRef], SetFlags>(
        async ({ manager, output, limitsFile }, [ref], { name, plan, setting }) => {
          if (name === undefined && plan === undefined && setting === undefined)
            throw new UsageError('nothing to set: add --name, --plan or --setting')
          const { settings, version } = await find(manager, ref)
          const tenant = await manager.update(ref, {
            version,
            ...(name !== undefined && { name }),
            ...(plan !== undefined && { plan }),
            ...(setting !== undefined && { settings: { ...settings, ...setting } })
          })
          await warnOfPlan(output, limitsFile, plan)
          output.result(tenant, () => shown(tenant))
        }
      )
    )

  change('suspend', "refuse a tenant's requests until it is resumed", (manager, ref) => manager.suspend(ref))
  change(
    'resume',
    'serve a suspended tenant again, or take back a deletion that is not due',
    (manager, ref) => manager.resume(ref)
  )

  program.command('rename').argument('<tenant>', 'slug or id:…', parseRef).argument('<slug>', 'the new slug')
    .description('give a tenant another slug; the old one is free again after 30 days')
    .action(runner.action<[TenantRef, string]>(async ({ manager, output }, [ref, slug]) => {
      const tenant = await manager.rename(ref, slug)
      output.result(tenant, () => `${slugOrId(ref)} is now ${described(tenant)}`)
    }))

  function change (
    name: string,
    description: string,
    work: (manager: CommandContext['manager'], ref: TenantRef) => Promise<TenantRecord>
  ): void {
    program.command(name).argument('<tenant>', 'slug or id:…', parseRef).description(description)
      .action(runner.action<[TenantRef]>(async ({ manager, output }, [ref]) => {
        const tenant = await work(manager, ref)
        output.result(tenant, () => described(tenant))
      }))
  }
}

async function find (manager: CommandContext['manager'], ref: TenantRef): Promise<TenantRecord> {
  const tenant = await manager.get(ref)
  if (tenant === undefined) throw new Error(`there is no tenant ${slugOrId(ref)}: tenancy list shows all`)
  return tenant
}

/** Returns one line about a tenant. */
export function described ({ slug, id, status, isolation }: TenantRecord): string {
  return `${slug} (${id}), ${status}, ${isolation}`
}

async function warnOfPlan (
  output: CommandContext['output'],
  limitsFile: string | undefined,
  plan: string | undefined
): Promise<void> {
  if (plan === undefined) return
  const plans = await readPlans(limitsFile, line => {
    output.log(line)
  })
  if (plans?.has(plan) === false) output.log(`warning: ${unknownPlan(plan)}`)
}

// The column of notes is shown only if a tenant has a note.
function shownTable (tenants: readonly Noted[]): string {
  const notes = tenants.map(tenant => notesOf(tenant).join('; '))
  const hasNotes = notes.some(note => note !== '')
  return textTable(
    ['slug', 'status', 'plan', 'isolation', 'shard', 'id', ...(hasNotes ? ['note'] : [])],
    tenants.map(({ slug, status, plan, isolation, placement, id }, index) => [
      slug,
      status,
      plan,
      isolation,
      placement.shard,
      id,
      ...(hasNotes ? [notes[index] ?? ''] : [])
    ])
  )
}

function shown (
  { id, slug, name, status, plan, isolation, placement, domains, settings, createdAt, updatedAt }:
    TenantRecord
): string {
  return fields({
    id,
    slug,
    name,
    status,
    plan,
    isolation,
    ...placement,
    domains: domains.join(' ') || 'none',
    settings: JSON.stringify(settings),
    created: createdAt.toISOString(),
    updated: updatedAt.toISOString()
  })
}

function collect (value: string, before: readonly string[] = []): readonly string[] {
  return [...before, value]
}

function collectSetting (
  text: string,
  before: Readonly<Record<string, unknown>> = {}
): Readonly<Record<string, unknown>> {
  const [, key, value = ''] = /^([^=]+)=(.*)$/s.exec(text) ?? []
  if (key === undefined) throw new InvalidArgumentError('write key=value.')
  return { ...before, [key]: parsed(value) }
}

function parsed (value: string): unknown {
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}
