// Issue 3: time to type-check a program on a schema of 200 tables, with the suite's `request.db`
// and with a plain Kysely.
import { execFile } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'

import { race, type Sample } from '../../src/race.ts'
import { report, markdownTable, versions } from '../../src/report.ts'

const packageFolder = join(import.meta.dirname, '../..')
const folder = mkdtempSync(join(packageFolder, 'types-'))
process.on('exit', () => {
  rmSync(folder, { recursive: true, force: true })
})

const heads = {
  suite: `import type {} from 'fastify-tenancy'
declare module 'fastify-tenancy' {
  interface Register {
    database: Schema
    tenantTables: Extract<keyof Schema, \`tenant_\${string}\`>
    sharedTables: 'countries'
    globalTables: 'users'
  }
}`,
  plain: `import type { Kysely } from 'kysely'
declare module 'fastify' {
  interface FastifyRequest { readonly db: Kysely<Schema> }
}`
}

/**
 * 100 routes with three statements each. Plain Kysely needs the tenant column, the suite does not.
 */
function program (kind: keyof typeof heads): string {
  const tenant = kind === 'plain' ? 'tenant_id: id, ' : ''
  const where = kind === 'plain' ? ".where('tenant_ID.tenant_id', '=', id)" : ''
  const routes = Array.from({ length: 100 }, (_, n) => `
app.get<{ Params: { id: string } }>('/tenant_${n}/:id', async ({ db, params: { id } }) => {
  await db.insertInto('tenant_${n}').values({ ${tenant}name: 'x',
    amount: 1 }).returning('id').executeTakeFirstOrThrow()
  await db.updateTable('tenant_${n}').set({ name: 'y' }).where('id', '=', id).executeTakeFirst()
  return db.selectFrom('tenant_${n}').innerJoin('tenant_${(n + 1) % 200}', 'tenant_${
    (n + 1) % 200
  }.id', 'tenant_${n}.id')
    .select(['tenant_${n}.name', 'tenant_${(n + 1) % 200}.amount as other'])${
    where.replace('ID', String(n))
  }.where('tenant_${n}.id', '=', id).execute()
})`)
  return `import type { FastifyInstance } from 'fastify'
import type { Schema } from './large-schema.ts'
${heads[kind]}
declare const app: FastifyInstance
${routes.join('')}
`
}

for (const kind of Object.keys(heads) as (keyof typeof heads)[]) {
  mkdirSync(join(folder, kind))
  cpSync(
    join(packageFolder, '../../test/types/strict/large-schema.ts'),
    join(folder, kind, 'large-schema.ts')
  )
  writeFileSync(join(folder, kind, 'app.ts'), program(kind))
  writeFileSync(
    join(folder, kind, 'tsconfig.json'),
    JSON.stringify({
      extends: '../../tsconfig.json',
      compilerOptions: { skipLibCheck: true },
      include: ['*.ts'],
      references: []
    })
  )
}

/** Checks a program. Returns the compiler's own figures, in seconds. */
async function check (compiler: string, kind: keyof typeof heads): Promise<Sample> {
  const { stdout } = await promisify(execFile)(process.execPath, [compiler, '-p', join(folder, kind),
    '--extendedDiagnostics'])
  const figure = (name: string): number => Number(new RegExp(`^${name}:\\s+([\\d.]+)`, 'm').exec(stdout)?.[1])
  return { check: figure('Check time'), total: figure('Total time'), types: figure('Types') }
}

const require = createRequire(join(packageFolder, '../../package.json'))
const compilers = {
  7: join(dirname(require.resolve('@typescript/native/package.json')), 'bin/tsc'),
  6: join(dirname(require.resolve('typescript/package.json')), 'bin/tsc6')
}
const columns = [{ figure: 'check', title: 'check s' }, { figure: 'total', title: 'total s' }, {
  figure: 'types',
  title: 'types',
  digits: 0
}]
const parts: string[] = []
for (const [major, compiler] of Object.entries(compilers)) {
  const result = await race({ name: 'plain Kysely', run: () => check(compiler, 'plain') }, [{
    name: 'request.db of the suite',
    run: () => check(compiler, 'suite')
  }])
  parts.push(`**TypeScript ${major}**\n\n${markdownTable(result, columns)}`)
}
report('types', `${parts.join('\n\n')}\n\n${versions('typescript', '@typescript/native').join(', ')}`)
