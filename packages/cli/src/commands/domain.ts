import type { TenantRef } from '@fastify-tenancy/core'
import type { Command } from 'commander'

import { parseRef } from '../run/ref.ts'
import type { Runner } from '../run/runner.ts'
import { fields, textTable } from '../terminal/output.ts'

export function addDomainCommands (program: Command, runner: Runner): void {
  const domain = program.command('domain').description('custom domains of a tenant')
  const command = (name: string, description: string): Command =>
    domain.command(name).argument('<tenant>', 'slug or id:…', parseRef).argument('<domain>').description(
      description
    )

  command('add', 'claim a domain; prints the DNS record that proves it')
    .action(runner.action<[TenantRef, string]>(async ({ manager, output }, [ref, name]) => {
      const { record, ...claim } = await manager.domains.add(ref, name)
      output.result(
        { ...claim, record },
        () =>
          `set this record, then run tenancy domain verify:\n${
            fields({ name: record.name, type: record.type, value: record.value })
          }`
      )
    }))
  command('verify', 'look for the DNS record; the domain is served from then on')
    .action(runner.action<[TenantRef, string]>(async ({ manager, output }, [ref, name]) => {
      output.result(await manager.domains.verify(ref, name), () => `${name} is verified`)
    }))
  command('remove', 'give a domain up; it is not served any more')
    .action(runner.action<[TenantRef, string]>(async ({ manager, output }, [ref, name]) => {
      await manager.domains.remove(ref, name)
      output.result({ domain: name, removed: true }, () => `${name} is removed`)
    }))
  domain.command('list').argument('<tenant>', 'slug or id:…', parseRef).description(
    'the domains of a tenant, verified or not'
  )
    .action(runner.action<[TenantRef]>(async ({ manager, output }, [ref]) => {
      const domains = await manager.domains.list(ref)
      output.result(
        domains,
        () => textTable(['domain', 'status'], domains.map(({ domain, status }) => [domain, status]))
      )
    }))
  domain.command('reverify').description('look at the DNS records of all verified domains; for a daily job')
    .action(runner.action(async ({ manager, output }) => {
      const checked = await manager.domains.reverify()
      output.result(
        checked,
        () =>
          textTable(
            ['domain', 'tenant', 'state'],
            checked.map(({ domain, tenant, state }) => [domain, tenant, state])
          )
      )
    }))
}
