// A manager in a separate process, which kills itself at one of the given steps. Started by fork()
// with a task as JSON.
import { createManager, type ImportInput, type MoveInput } from '@fastify-tenancy/manager'

import { fixtureOptions } from '../manager/manager-fixture.ts'

type Verb = { readonly move: MoveInput } | { readonly confirm: true } | {
  readonly import: string
  readonly input: ImportInput
} | { readonly export: string }

const { superUrl, id, verb, dieAt } = JSON.parse(process.argv[2] ?? '') as {
  superUrl: string
  id: string
  verb: Verb
  dieAt: readonly string[]
}
const manager = createManager({
  ...fixtureOptions(superUrl),
  progress: ({ step }) => {
    if (dieAt.includes(step)) process.kill(process.pid, 'SIGKILL')
  }
})
if ('move' in verb) await manager.move({ id }, verb.move)
else if ('confirm' in verb) await manager.confirmMove({ id })
else if ('import' in verb) await manager.import(verb.import, verb.input)
else await manager.export({ id }, { to: verb.export })
await manager.close()
