import { printable } from '@fastify-tenancy/core/names'
import { Command } from 'commander'
import { createRequire } from 'node:module'

import { addAuditCommand } from './commands/audit.ts'
import { addDataCommands } from './commands/data.ts'
import { addDoctorCommand } from './commands/doctor.ts'
import { addDomainCommands } from './commands/domain.ts'
import { addEndCommands } from './commands/end.ts'
import { addLimitsCommand } from './commands/limits.ts'
import { addMigrateCommands } from './commands/migrate.ts'
import { addSetupCommands } from './commands/setup.ts'
import { addTenantCommands } from './commands/tenant.ts'
import { addTopCommand } from './commands/top.ts'
import type { Runner } from './run/runner.ts'
import { masker } from './terminal/mask.ts'

const { version } = createRequire(import.meta.url)('@fastify-tenancy/cli/package.json') as { version: string }

/** Returns the whole command line as commander's program. */
export function buildProgram (runner: Runner): Command {
  const { stdout, stderr } = runner.streams
  // Commander quotes wrong arguments in its errors, and an argument may hold a password.
  const mask = masker([])
  const program = new Command('tenancy')
    .description('Tenants, migrations and the doctor of a fastify-tenancy application')
    .version(version, '--version', 'print the version')
    .option('--config <file>', 'the configuration (default: tenancy.config.{ts,js,json} in this folder)')
    .option('--database-url <url>', "the database, instead of the configuration's own")
    .option('--redis-url <url>', "Redis, instead of the configuration's own")
    .option('--json', 'print one JSON document on stdout')
    .option('--yes', 'do not ask before what cannot be undone')
    .showHelpAfterError('(tenancy help shows all commands)')
    .exitOverride()
    .configureOutput({
      writeOut: text => {
        stdout.write(text)
      },
      writeErr: text => {
        stderr.write(mask(printable(text, { breaks: true })))
      }
    })
  for (
    const add of [addSetupCommands, addTenantCommands, addDomainCommands, addEndCommands, addDataCommands,
      addMigrateCommands, addDoctorCommand, addAuditCommand, addLimitsCommand, addTopCommand]
  ) add(program, runner)
  return program
}
