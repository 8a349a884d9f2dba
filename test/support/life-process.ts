// A manager in a separate process, which kills itself at the first step that it records. Started by
// fork() with a task as JSON.
import { createManager } from '@fastify-tenancy/manager'

import { lifecycleOptions, lifecycleSteps, type LifecycleStrategy } from '../manager/lifecycle-options.ts'

const { superUrl, strategy, verb, id, steps } = JSON.parse(process.argv[2] ?? '') as {
  superUrl: string
  strategy: LifecycleStrategy
  verb: 'create' | 'delete' | 'purge' | 'nothing'
  id: string
  steps: readonly string[]
}

// Chunks of a step emit events too, but they are not recorded.
const manager = createManager({
  ...lifecycleOptions(superUrl, strategy),
  ...lifecycleSteps,
  progress: ({ step }) => {
    if (steps.includes(step)) process.kill(process.pid, 'SIGKILL')
  }
})
if (verb === 'create') await manager.create({ id, slug: 'acme' })
if (verb === 'delete') await manager.delete({ id }, { grace: '0s' })
if (verb === 'purge') await manager.purge({ id })
await manager.close()
