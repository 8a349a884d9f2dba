// Every TypeScript snippet of the READMEs and guides compiles against the built packages, as a reader's does.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { compileSnippets, moduleOf, readersPages, snippets } from '../../.ci/compile-snippets.ts'
import { root } from '../../.ci/sources.ts'

t.test('every snippet compiles', { timeout: 120_000 }, async t => {
  const wrong = { place: 'control.md:7', code: '\nconst port: string = 1\n' }
  const [problem, ...problems] = compileSnippets([...snippets(), wrong]).toReversed()
  t.match(problem, /^control\.md:8: error TS2322/, 'control: a wrong snippet is found, in its line')
  t.same(problems, [])
})

t.test('every code of a page says its language, and TypeScript is never called JavaScript', async t => {
  for (const page of readersPages()) {
    const fences = readFileSync(join(root, page), 'utf8').match(/^```.*$/gm) ?? []
    for (const fence of fences.filter((_, n) => n % 2 === 0))
      t.match(fence, /^```(?:ts|js|jsonc?|sh|sql|console|diff|ya?ml|promql)?$/, page)
  }
})

t.test('an ellipsis stands for what the reader writes', async t => {
  t.match(moduleOf('f({ …, a: 1 })'), 'f({ ...options, a: 1 })')
  t.match(moduleOf('run(async () => { … })'), 'run(async () => {})')
  t.match(moduleOf("const id = '7f3c…'"), '7f3c…')
})
