// Writes packages/fastify-tenancy/docs/doctor.md from the checks in the code: run it when a check changes.
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'

import { probeChecks } from '../packages/manager/src/doctor/attacks.ts'
import { catalogChecks } from '../packages/manager/src/doctor/catalog.ts'
import { root } from './sources.ts'

export const doctorPagePath: string = join(root, 'packages/fastify-tenancy/docs/doctor.md')

/** Headings of the page. A check belongs to the first family whose prefix its id has. */
const families: readonly (readonly [prefix: string, title: string])[] = [
  ['D10', 'Policies'],
  ['D11', 'Policies'],
  ['D12', 'Keys, columns and indexes'],
  ['D2', 'Views, functions, triggers and rules'],
  ['D3', 'Logins'],
  ['D4', 'Privileges'],
  ['D50', 'Schemas and roles of tenants'],
  ['D51', 'Work on tenants'],
  ['D6', 'The server, and what cannot be reached'],
  ['P', 'Attempts of the probe']
]

const checks = Object.entries({ ...catalogChecks, ...probeChecks }).toSorted(([a], [b]) => a < b ? -1 : 1)

/** Ids that no heading of the page has. */
export function homelessChecks (): string[] {
  return checks.map(([id]) => id).filter(id => !families.some(([prefix]) => id.startsWith(prefix)))
}

function tableOf (title: string): string {
  const prefixes = families.filter(family => family[1] === title).map(([prefix]) => prefix)
  const rows = checks.filter(([id]) => prefixes.some(prefix => id.startsWith(prefix)))
    .map(([id, { level, meaning }]) => `| ${id} | ${level} | ${meaning} |`)
  return `### ${title}\n\n| check | level | meaning |\n|---|---|---|\n${rows.join('\n')}`
}

export function doctorPage (): string {
  const titles = [...new Set(families.map(([, title]) => title))]
  return `# Doctor

The doctor reads the catalog of every shard and reports what weakens the separation of tenants. It writes \
nothing.

\`\`\`sh
tenancy doctor
tenancy doctor --probe
\`\`\`

\`\`\`ts
const { level, reasons, findings } = await manager.doctor({ probe: true })
for (const { id, level, object, meaning, fix } of findings) console.log(level, id, object, meaning, fix)
\`\`\`

It uses the login of \`ownerUrl\`.

Each family of checks is one query.

It compares tables with \`options.tables\`. It compares policies with the two that \`protect\` makes with \
these options.

## A finding

| field | holds |
|---|---|
| \`id\` | the check, from the tables below |
| \`level\` | \`error\`, \`warning\` or \`info\` |
| \`object\` | the object, by the name that PostgreSQL has for it |
| \`meaning\` | what it means, in a sentence |
| \`fix\` | the SQL that mends it, or a comment (\`-- …\`) where no SQL does |

| level | means |
|---|---|
| \`error\` | rows of other tenants can be shown or touched |
| \`warning\` | a layer of the separation is weaker than intended, or something is about to fail |
| \`info\` | could be made stricter, for example by \`init({ harden: true })\` |

The report's own \`level\` says how far the logins are kept apart, from L0 to L4. See [the \
levels](roles-and-policies.md#levels).

Its \`reasons\` say what keeps the next level away.

## Options

| option | effect |
|---|---|
| \`probe: true\` | also connects with the application's logins: \`url\`, and \`tenantRolesUrl\` and \
\`globalUrl\` to take roles |
| \`writeBaseline: 'file.json'\` | writes all present errors and warnings into a file |
| \`baseline: 'file.json'\` | leaves the findings of that file out of the report. \`accepted\` counts \
them. \`stale\` names those that are not found any more |

- The probe tries to read, to take other roles, to name another tenant in a statement that reads, to turn \
policies off, and to make objects.
- Each attempt of the probe is a transaction that is rolled back.
- An attempt has level \`info\` if [the page of strategies](strategies.md) says that an attacker can do it.
- A baseline file that cannot be read is an error.
- The key of a finding in a baseline is its id, its object and its shard.

## At the boot

A boot runs the checks that the application's login can make at once: D101 to D114, D213, D3xx, D4xx and \
D601.

The option \`database.doctor\` says what becomes of their findings:

| value | effect |
|---|---|
| \`'warn'\` (default) | errors and warnings are logged |
| \`'refuse'\` | they are logged, and an error refuses the start under \`NODE_ENV=production\` |
| \`false\` | nothing is examined |

## What it does not examine

- The insides of tenants' own databases (strategy \`database\`), except for their extensions.
- What an extension brings along.
- Whether the registry's login can do more than it should.

## Checks

An id keeps its meaning.

These tables are written by \`node .ci/doctor-page.ts\` from the code.

${titles.map(tableOf).join('\n\n')}
`
}

if (import.meta.main) writeFileSync(doctorPagePath, doctorPage())
