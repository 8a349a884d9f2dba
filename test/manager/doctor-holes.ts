// Holes to plant, and the one finding that each must give.
import type { Test } from 'tap'

import { doctorWorld, type DoctorWorld } from './doctor-world.ts'
import type { ManagerOptions } from '@fastify-tenancy/manager'

export interface Hole {
  /** What it is, as a sentence. */
  readonly name: string
  /** All that is found, errors first: `D101 table public.notes`. */
  readonly finds: readonly string[]
  /** With the names of the roles in braces: `{app}`, `{login}`, `{owner}`, `{system}`, `{database}`. */
  readonly plant: string
  /** In place of the fix, where that is no SQL. */
  readonly mend?: string
  /** Takes away what the fix leaves. */
  readonly after?: string
}

/**
 * Plants one hole after the other in one database: each is found, alone, so that the fix of the one before must have made that
 * go away. After the last, nothing is left.
 */
export async function runHoles (
  t: Test,
  holes: readonly Hole[],
  options: Partial<ManagerOptions> = {}
): Promise<void> {
  const on = await doctorWorld(t, options)
  for (const hole of [...holes, nothing])
    await t.test(hole.name, async t => {
      await runHole(t, on, hole)
    })
}

const nothing: Hole = { name: 'nothing is left', finds: [], plant: 'select 1' }

async function runHole (t: Test, on: DoctorWorld, { finds, plant, mend, after }: Hole): Promise<void> {
  const filled = (text: string): string => fill(text, on)
  await on.admin(filled(plant))
  const findings = (await on.manager.doctor()).findings.filter(({ id }) => !always.includes(id))
  t.same(findings.map(({ id, object }) => `${id} ${object}`), finds.map(filled))
  for (const { id, object, fix, meaning } of findings) {
    t.match(meaning, /^\S.*[^.]$/, `${id}: one sentence`)
    if (mend !== undefined) continue
    t.notMatch(fix, /^--/, `${id} ${object}: ${fix}`)
    await on.admin(fix)
  }
  if (mend !== undefined) await on.admin(filled(mend))
  if (after !== undefined) await on.admin(filled(after))
}

/** What every server shows that was not hardened. */
const always: readonly string[] = ['D415', 'D417', 'D418', 'D419', 'D422', 'D423', 'D424']

export function fill (
  text: string,
  { roles, app, superUrl }: Pick<DoctorWorld, 'roles' | 'app' | 'superUrl'>
): string {
  const values: Readonly<Record<string, string>> = {
    ...roles,
    login: app,
    database: new URL(superUrl).pathname.slice(1),
    suffix: roles.app.slice(-9)
  }
  return text.replaceAll(/\{(\w+)\}/g, (_, name: string) => values[name] ?? name)
}
