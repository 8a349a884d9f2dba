// A process that prepares a database and kills itself with SIGKILL at a step. argv holds the
// manager's options and that step.
import { createManager, type ManagerOptions } from '@fastify-tenancy/manager'

const [options = '{}', dieAt = ''] = process.argv.slice(2)
const manager = createManager({
  ...JSON.parse(options) as ManagerOptions,
  progress: ({ step }) => {
    if (step === dieAt) process.kill(process.pid, 'SIGKILL')
  }
})
await manager.protect({ stage: 'prepare' })
await manager.close()
