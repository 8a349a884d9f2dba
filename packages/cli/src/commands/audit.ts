import type { TenantRef } from '@fastify-tenancy/core'
import type { AuditEntry } from '@fastify-tenancy/manager'
import { Argument, type Command } from 'commander'

import { parseRef } from '../run/ref.ts'
import type { Runner } from '../run/runner.ts'
import { textTable } from '../terminal/output.ts'

export function addAuditCommand (program: Command, runner: Runner): void {
  program.command('audit').addArgument(new Argument('[tenant]', 'slug or id:…').argParser(parseRef))
    .description('what was done to tenants, when and by which login; the newest last')
    .option('--since <age>', 'only what is younger, such as 7d')
    .action(
      runner.action<[TenantRef | undefined], { since?: string }>(
        async ({ manager, output }, [ref], { since }) => {
          const entries: AuditEntry[] = []
          const wanted = manager.audit({
            ...(ref !== undefined && { tenant: ref }),
            ...(since !== undefined && { since })
          })
          for await (const entry of wanted) entries.push(entry)
          output.result(
            entries,
            () => textTable(['at', 'tenant', 'action', 'by', 'details'], entries.map(row))
          )
        }
      )
    )
}

// A deleted tenant has released its slug, so it is shown by its id.
function row ({ at, tenant, slug, action, actor, details }: AuditEntry): readonly string[] {
  const name = slug ?? (tenant === '' ? '' : `id:${tenant}`)
  return [at.toISOString(), name, action, actor,
    Object.keys(details).length === 0 ? '' : JSON.stringify(details)]
}
