// A separate process that migrates. On request it kills itself by SIGKILL at the first event of a
// step, so that nothing is cleaned up.
import { createManager, type ManagerOptions, type MigrateInput } from '@fastify-tenancy/manager'

export interface MigrateProcess {
  readonly options: ManagerOptions
  readonly input: MigrateInput
  /** The step at whose first event the process dies; undefined for never. */
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
