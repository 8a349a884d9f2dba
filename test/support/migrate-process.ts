// A process of its own that migrates, and kills itself when told to: `SIGKILL`, at the first event of a step, so that nothing is cleaned up.
import { createManager, type ManagerOptions, type MigrateInput } from '@fastify-tenancy/manager'

export interface MigrateProcess {
  readonly options: ManagerOptions
  readonly input: MigrateInput
  /** At which step's first event it dies; undefined for never. */
  readonly dieAt?: string
}

const { options, input, dieAt } = JSON.parse(process.argv[2] ?? '') as MigrateProcess
const manager = createManager({
  ...options,
  progress: ({ step }) => {
    if (step === dieAt) process.kill(process.pid, 'SIGKILL')
  }
})
const { tenants } = await manager.migrate(input)
await manager.close()
process.send?.(tenants)
process.disconnect()
