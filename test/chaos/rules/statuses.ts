import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import { describe, isExcused, type Call, type Rule } from '../history.ts'

const page = join(import.meta.dirname, '../../../packages/fastify-tenancy/docs/errors.md')
const documented = new Map(
  [...readFileSync(page, 'utf8').matchAll(/^\| `(\w+)` \| (\d+) \|/gm)].map(([, code = '', status]) => [
    code,
    Number(status)
  ])
)

/** Faults of a process that refuses or cuts connections. */
const endings = new Set(['kill', 'terminate', 'rotate'])

/** Every error has a documented code with its status, and none is an internal error. */
export const statuses: Rule = {
  name: 'only documented statuses',
  check ({ calls, faults, bounds }) {
    const ends = faults.filter(({ kind }) => endings.has(kind))
    // A request that was given up without an answer breaks the rule of recovery.
    const isGivenUp = ({ status, sent, done }: Call): boolean => status === 0 && done - sent > bounds.answerMs
    return calls.filter(call => !call.isAborted && !isGivenUp(call)).flatMap(call =>
      isKnown(call, isExcused(call, ends, bounds.recoveryMs)) ? [] : [describe(call)]
    )
  }
}

function isKnown ({ status, body, operation, retryAfter }: Call, isEnding: boolean): boolean {
  if (status === 0) return isEnding
  if (status < 400) return status === (operation === 'write' || operation === 'transfer' ? 201 : 200)
  const { code } = body as { code?: string } ?? {}
  if (code === 'EXPECTED') return status === 409 && operation === 'failing transfer'
  if ((status === 503 || status === 429) && retryAfter === undefined) return false
  // While an application closes, Fastify itself refuses further requests.
  if (status === 503 && isEnding) return true
  return status !== 500 && documented.get(code ?? '') === status
}
