import { OptionInvalidError, type TenancyError } from '@fastify-tenancy/core'
import type { Command } from 'commander'
import { readFile } from 'node:fs/promises'

import { exitCode, type Runner } from '../run/runner.ts'

export function addLimitsCommand (program: Command, runner: Runner): void {
  program.command('limits').description('the limits file')
    .command('check <file>').description('check a limits file, as the application does when it reads it')
    .action(runner.plain<[string]>(async (output, [file]) => {
      // It brings Fastify along, which no other command needs.
      const { parseLimits } = await import('@fastify-tenancy/rate-limit')
      const text = await readFile(file, 'utf8')
      try {
        const { plans, tenants } = parseLimits(text, file)
        output.result(
          { file, plans: plans.size, tenants: tenants.size },
          () => `${file} is right: ${plans.size} plans, ${tenants.size} tenants`
        )
        return exitCode.done
      } catch (error) {
        // The file is what is examined here, and no part of the command's own configuration: its mistake is a finding.
        if (!(error instanceof OptionInvalidError)) throw error
        const { message } = error as Error
        output.log(`error: ${message}`)
        output.result({ file, error: { code: (error as TenancyError).code, message } }, () => '')
        return exitCode.failed
      }
    }))
}
