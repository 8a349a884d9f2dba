import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

import { caseIds, caseIndex, caseIndexPath, testFiles, testTitles } from '../../.ci/case-index.ts'
import { root } from '../../.ci/sources.ts'

// Made of parts, so that the index does not list the sample below.
const id = (n: number): string => ['AAA', `0${n}`].join('-')

const page = readFileSync(caseIndexPath, 'utf8')

t.test('the index of cases is as the titles of the tests', async t => {
  t.equal(page, caseIndex(), 'run node .ci/case-index.ts')
})

// Reads the titles as text and not as code, so that a fault of the index shows here.
t.test('every id in a title is in the index', async t => {
  const listed = new Set([...page.matchAll(/^\| ([A-Z]+-\d+) \|/gm)].map(([, listed]) => listed))
  t.ok(listed.size > 100, 'control')
  for (const file of testFiles()) {
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, title = ''] of text.matchAll(/\b(?:test\(|name:|ids:)\s*(['"`][^\n]*)/g))
      for (const one of caseIds(title)) t.ok(listed.has(one), `${one} of ${file}`)
  }
})

t.test('every case has one row with a sentence', async t => {
  const rows = [...page.matchAll(/^\| ([A-Z]+-\d+) \| (.*?) \| (.*) \|$/gm)]
  const ids = rows.map(([, listed]) => listed)
  t.equal(new Set(ids).size, ids.length)
  for (const [, listed, sentence = ''] of rows) t.match(sentence, /^.{10,}$/, `${listed}`)
})

t.test('a title is found in every form', async t => {
  const source = `
    t.test('${id(1)} plain', f)
    await t.test(\`${id(2)} \${name}: template\`, { skip }, f)
    test('${id(3)} in ' + 'parts', f)
    const holes = [{ name: "${id(4)} it's listed", plant: '${id(5)} is no title' }]
    const effects = { '${id(6)}: a key': { ids: '${id(7)}', name: 'after its id' } }`
  t.same(testTitles(source, 'a.test.ts'), [`${id(1)} plain`, `${id(2)} …: template`, `${id(3)} in parts`,
    `${id(4)} it's listed`, `${id(6)}: a key`, `${id(7)} after its id`])
  t.same(caseIds(`${id(1)} D101 ${id(2)} ${id(1)} FST_TENANCY`), [id(1), id(2)])
})
