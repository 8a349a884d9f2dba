import t from 'tap'

import { withoutRepeats } from '../../packages/manager/src/doctor/report.ts'

t.test('DAT-15 a line break in a name does not end the comment of a fix', t => {
  const [first, second] = ['a\ndrop table notes;', 'b\rdrop table notes;'].map(object => ({
    id: 'D101',
    level: 'error' as const,
    object,
    meaning: 'it has no policy',
    fix: 'select 1;',
    shard: 'default'
  }))
  if (first === undefined || second === undefined) return t.end()
  const found = withoutRepeats([first, second])
  t.equal(found[1]?.fix, '-- fixed by the fix of D101 a\\u000adrop table notes;')
  t.end()
})
