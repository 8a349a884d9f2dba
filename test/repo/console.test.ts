// How the commands of a page and their output are read and compared.
import t from 'tap'

import { commandsOf, difference } from '../../.ci/console.ts'

t.test('a section gives its commands with their output', async t => {
  const page = t.testdir({
    'page.md': ['# A', '## B', '```sh', 'one --x', 'two', '```', '```console', '$ three', 'line', '$ four',
      '```', '## C', '```sh', 'five', '```', ''].join('\n')
  })
  t.same(commandsOf(`${page}/page.md`, 'B'), [
    { command: 'one --x', output: '' },
    { command: 'two', output: '' },
    { command: 'three', output: 'line' },
    { command: 'four', output: '' }
  ])
})

const id = (digit: string): string => `${digit.repeat(8)}-1111-1111-1111-111111111111`

t.test('ids, measurements and padding may differ, and nothing else', async t => {
  const printed = { command: 'tenancy x', output: `moved ${id('a')}, paused 1.1 s\n2 rows` }
  t.equal(difference(printed, `moved  ${id('b')}, paused 0.4 s\n2 rows\n`), undefined)
  t.match(difference(printed, `moved ${id('b')}, paused 0.4 s\n3 rows`), /3 rows\ninstead of/)
  t.match(difference(printed, `moved ${id('b')}, paused 0.4 s`), /instead of/)
  t.equal(difference({ command: 'tenancy top --x', output: 'acme 4 100 %' }, 'acme 17 99 %'), undefined)
  t.equal(difference({ command: 'd', output: '…\nlast' }, 'first\nsecond\nlast'), undefined)
  t.match(difference({ command: 'd', output: '…\nlast' }, 'first\nother'), /instead of/)
})
