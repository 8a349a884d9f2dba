import type { Command } from 'commander'
import { readFile } from 'node:fs/promises'

import type { Runner } from '../runner.ts'

export function addLimitsCommand (program: Command, runner: Runner): void {
  program.command('limits').description('the limits file')
    .command('check <file>').description('check a limits file, as the application does when it reads it')
    .action(runner.plain<[string]>(async (output, [file]) => {
      // It brings Fastify along, which no other command needs.
      const { parseLimits } = await import('@fastify-tenancy/rate-limit')
      const { plans, tenants } = parseLimits(await readFile(file, 'utf8'), file)
      output.result({ file, plans: plans.size, tenants: tenants.size }, () => `${file} is right: ${plans.size} plans, ${tenants.size} tenants`)
    }))
}
