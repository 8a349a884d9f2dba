// Forced row-level security is the judge of the rewriter: whatever Kysely can be made to say, both
// must answer alike.
import fc from 'fast-check'
import { randomBytes, randomInt } from 'node:crypto'
import t, { type Test } from 'tap'

import { search } from '../../fuzz/fuzzer.ts'
import { freshDatabase } from '../../support/fresh.ts'
import { isLong } from '../../support/long.ts'
import { connect } from '../../support/sql.ts'
import { Judge, seededBugs } from './judge.ts'
import { choices } from './random.ts'
import { tenantColumns } from './schema.ts'
import { unscoped } from './syntax-oracle.ts'

// Each day draws another seed.
const queries = isLong ? 2_000 : 600
// About 8 s on an idle core; the runner's other files want the same two.
t.setTimeout(150_000)

/** Shrinking stops then, with the simplest query so far. */
const shrinkMs = 15_000

async function judge (t: Test): Promise<Judge> {
  const url = await freshDatabase(t)
  const role = `fuzz_${randomBytes(6).toString('hex')}`
  const client = await connect(t, url)
  t.teardown(() => client.query(`drop owned by ${role}; drop role ${role}`))
  return Judge.on(client, role)
}

t.test(`REW-03, REW-04, REW-06, REW-20, REW-22: ${queries} random queries equal forced policies`, async t => {
  const seed = randomInt(2 ** 31)
  const on = await judge(t)
  let failed = 0
  const property = fc.asyncProperty(choices, async tape => {
    const { problem, hasFailed } = await on.verdict(tape)
    if (hasFailed) failed++
    if (problem !== undefined) throw new Error(problem)
  })
  await fc.assert(property, { seed, numRuns: queries })
  t.ok(
    failed < queries * 0.15,
    `${failed} of ${queries} failed under policies too, so that they proved nothing`
  )
  t.ok(on.used.size >= 50, `${on.used.size} constructs`)
})

for (const [at, [bug, rules]] of Object.entries(seededBugs).entries()) {
  t.test(`control: ${bug}: caught within 1,000 queries`, async t => {
    const seed = randomInt(2 ** 31)
    const on = await judge(t)
    const play = async (tape: number[]): Promise<void> => {
      const { problem } = await on.verdict(tape, rules)
      if (problem !== undefined && !problem.startsWith('refused')) throw new Error(problem)
    }
    // Shrinking takes longer than finding, so that one bug is enough to show it.
    const budget = at === 0 ? { timeMs: shrinkMs } : { isShrunk: false }
    const { finding } = await search({ cases: choices, play }, seed, { cases: 1_000, ...budget })
    t.ok(finding, `from seed ${seed}`)
    if (at === 0) t.ok((finding?.shrinks ?? 0) > 0, finding?.message ?? '')
  })
}

t.test('control: the parser finds each statement with a missing or wrong predicate', async t => {
  const holes = [
    'select * from public.notes',
    'select * from public.notes where tenant_id = $1',
    'select * from public.notes where notes.tenant_id = $1 or true',
    'select * from public.notes n left join public.tags t on n.tenant_id = $1 and t.tenant_id = $1',
    'select * from public.notes n left join public.tags t on true where n.tenant_id = $1 and ' +
    't.tenant_id = $1',
    'select * from public.notes n right join public.tags t on t.tenant_id = $1 where n.tenant_id = $1',
    'select * from public.notes n full join public.tags t on n.id = t.id where n.tenant_id = $1 ' +
    'and t.tenant_id = $1',
    'select (select count(*) from public.tags) from public.notes where notes.tenant_id = $1',
    'with a as (select * from b), b as (select 1) select * from a',
    'select * from notes',
    'insert into public.notes (id) values ($1)',
    'insert into public.notes (id, tenant_id) values ($1, $2) on conflict (id) do update set id = 1',
    'update public.notes set n = 1 where n = 2',
    'delete from public.notes using public.tags where notes.tenant_id = $1',
    'merge into public.notes n using (select 1 as id) s on n.id = s.id when matched then delete',
    'merge into public.notes n using (select 1 as id) s on n.tenant_id = $1 and n.id = s.id when ' +
    'not matched by source then delete'
  ]
  for (const hole of holes) t.type(unscoped(hole, tenantColumns), 'string', hole)
  t.equal(
    unscoped(
      'select * from public.notes n left join public.tags t on t.tenant_id = $1 and (t.id = n.id) ' +
        'where n.tenant_id = $1',
      tenantColumns
    ),
    undefined
  )
})
