import { readFileSync } from 'node:fs'
import t from 'tap'

import { errorDefinitions, errorsPage, errorsPagePath, forgottenCodes,
  retiredCodes } from '../../.ci/errors-page.ts'
import { sources } from '../../.ci/sources.ts'

t.test('the page of errors is as the code defines them', async t => {
  t.equal(readFileSync(errorsPagePath, 'utf8'), errorsPage(), 'run node .ci/errors-page.ts')
})

t.test('every code that the sources name is defined once, with a status and a sentence', async t => {
  const definitions = errorDefinitions()
  const codes = definitions.map(({ code }) => code)
  t.same(codes.filter((code, i) => codes.indexOf(code) !== i), [], 'one meaning for each code')
  for (const { code, meaning } of definitions)
    t.match(meaning, /^\w.{15}/, `${code} has a docstring that says when`)
  for (const { path, text } of sources()) {
    for (const code of text.match(/FST_TENANCY_[A-Z_]+[A-Z]/g) ?? [])
      t.ok(codes.includes(code), `${code} in ${path} is defined`)
  }
})

t.test('a retired code is never used again, and none is forgotten', async t => {
  const codes = new Set(errorDefinitions().map(({ code }) => code))
  t.same(retiredCodes.filter(code => codes.has(code)), [])
  t.same(forgottenCodes(), [], 'add it to retiredCodes')
})

t.test('codes follow one pattern, and statuses are of errors', async t => {
  for (const { code, status } of errorDefinitions()) {
    t.match(code, /^FST_TENANCY_[A-Z]+(?:_[A-Z]+)+$/)
    t.ok(status >= 400 && status < 600)
  }
})
