// A manager in a process of its own, which kills itself at the first step that it writes down. Started by fork() with what to do as JSON.
import { createManager } from '@fastify-tenancy/manager'

import { lifecycleOptions, lifecycleSteps, type LifecycleStrategy } from '../manager/lifecycle-options.ts'

const { superUrl, strategy, verb, id, steps } = JSON.parse(process.argv[2] ?? '') as {
  superUrl: string
  strategy: LifecycleStrategy
  verb: 'create' | 'delete' | 'purge' | 'nothing'
  id: string
  steps: readonly string[]
}

// Portions of a step are told of, too; they are not written down.
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
