import { OptionInvalidError, type TenancyError } from '@fastify-tenancy/core'
import type { Command } from 'commander'
import { readFile } from 'node:fs/promises'

import { exitCode, type Runner } from '../run/runner.ts'

export function addLimitsCommand (program: Command, runner: Runner): void {
  program.command('limits').description('the limits file')
    .command('check <file>').description('check a limits file, as the application does when it reads it')
    .action(runner.plain<[string]>(async (output, [file]) => {
      // Imported here, because the package loads Fastify, which no other command needs.
      const { parseLimits } = await import('@fastify-tenancy/rate-limit')
      const text = await readFile(file, 'utf8')
      try {
        const { plans, tenants } = parseLimits(text, file)
        output.result(
          { file, plans: plans.size, tenants: tenants.size },
          () => `${file} is right: ${counted(plans.size, 'plan')}, ${counted(tenants.size, 'tenant')}`
        )
        return exitCode.done
      } catch (error) {
        // A mistake in the file is a finding of this command, not a mistake in its own
        // configuration.
        if (!(error instanceof OptionInvalidError)) throw error
        const { message } = error as Error
        output.log(`error: ${message}`)
        output.result({ file, error: { code: (error as TenancyError).code, message } }, () => '')
        return exitCode.failed
      }
    }))
}

function counted (count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
