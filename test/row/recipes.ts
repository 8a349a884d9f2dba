// The examples of Kysely's documentation, taken from the declarations that it ships, each as a
// module that can run.
import { readdirSync, readFileSync } from 'node:fs'
import { findPackageJSON, stripTypeScriptTypes } from 'node:module'
import { join } from 'node:path'

export interface Recipe {
  readonly name: string
  readonly code: string
  run(db: unknown): Promise<unknown>
}

// Not import.meta.resolve(): a test run resolves kysely to a bundle.
const folder = join(findPackageJSON('kysely', import.meta.url) ?? '', '../dist')
const files = [
  ...readdirSync(join(folder, 'query-builder')).filter(name => name.endsWith('.d.ts')).map(name =>
    join('query-builder', name)
  ),
  'query-creator.d.ts',
  'kysely.d.ts',
  join('expression', 'expression-builder.d.ts'),
  join('helpers', 'postgres.d.ts'),
  join('raw-builder', 'sql.d.ts')
]

/** Every example that executes something, named by its file and what is built. */
export function recipes (): Recipe[] {
  return files.toSorted().flatMap(file => {
    const blocks = readFileSync(join(folder, file), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)
    return [...blocks].map(([, block], index) =>
      recipe(`${file.replace('.d.ts', '')} ${index + 1}`, (block ?? '').replaceAll(/^ *\* ?/gm, ''))
    ).filter(({ code }) => /\bexecute|\bstream\(/.test(code))
  })
}

function recipe (name: string, code: string): Recipe {
  return {
    name,
    code,
    async run (db) {
      const kysely = import.meta.resolve('kysely')
      const helpers = import.meta.resolve('kysely/helpers/postgres')
      // The imports are made above it, and some examples do not wait for their queries.
      const body = code.replaceAll(/^import [^\n]*$/gm, '').replaceAll(
        /^(const persons = )?(?=someQuery\(|db\.|db$|sql)/gm,
        '$1await '
      )
      const text = stripTypeScriptTypes(
        `import * as kysely from '${kysely}'\nimport * as helpers from '${helpers}'
        const { sql, expressionBuilder } = kysely
        const { jsonArrayFrom, jsonObjectFrom, jsonBuildObject, mergeAction } = helpers
        const id = 1, personId = 1, firstName = 'Jennifer', lastName = 'Aniston', columnsFromTheUser =
          ['id'], doTheJoin = true
        const console = { log () {} }
        export default async function (db) {\n${body}\n}`
      )
      const { default: example } = await import(`data:text/javascript,${encodeURIComponent(text)}`) as {
        default: (db: unknown) => Promise<unknown>
      }
      return example(db)
    }
  }
}
