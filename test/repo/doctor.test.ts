import { readFileSync } from 'node:fs'
import t from 'tap'

import { doctorPage, doctorPagePath, homelessChecks } from '../../.ci/doctor-page.ts'
import { probeChecks } from '../../packages/manager/src/doctor/attacks.ts'
import { catalogChecks } from '../../packages/manager/src/doctor/catalog.ts'

t.test('the page of the doctor is as the code defines its checks', async t => {
  t.equal(readFileSync(doctorPagePath, 'utf8'), doctorPage(), 'run node .ci/doctor-page.ts')
})

t.test('every check is on the page once, under a heading, with its level and its meaning', async t => {
  t.same(homelessChecks(), [], 'add a family to .ci/doctor-page.ts')
  const rows = [...doctorPage().matchAll(/^\| ([DP]\d+) \| (\w+) \| (.+) \|$/gm)]
  t.same(
    rows.map(([, id, level, meaning]) => [id, { level, meaning }]),
    Object.entries({ ...catalogChecks, ...probeChecks }).toSorted(([a], [b]) => a < b ? -1 : 1)
  )
})
